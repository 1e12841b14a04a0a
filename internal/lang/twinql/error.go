package twinql

import "dunlin/internal/lang/diag"

// Error says what is wrong with a text and where.
type Error = diag.Error
