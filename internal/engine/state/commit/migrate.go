package commit

import (
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"
)

// NameMigration adds the name of the file to the error of a migration.
func NameMigration(err error) error {
	var p *goose.PartialError
	if errors.As(err, &p) && p.Failed != nil && p.Failed.Source != nil {
		return fmt.Errorf("%s: %w", p.Failed.Source.Path, err)
	}
	return err
}
