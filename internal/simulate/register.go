package simulate

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"dunlin/internal/wire/sas"
)

const (
	bulkLimit  = 100 // entries that the hub takes in one call
	restLimit  = 4   // calls at a time
	apiVersion = "?api-version=2021-04-12"
)

// register makes sure that the devices exist and gives their keys: derived
// ones for those that it creates, the registered ones for those that were
// there already.
func register(ctx context.Context, s site, cs connectionString, ids []string) (map[string][]byte, error) {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: restLimit,
	}
	defer transport.CloseIdleConnections()
	r := &registrar{
		site: s, cs: cs,
		token:  sas.Sign(s.host, cs.key, time.Now().Add(time.Hour), cs.policy),
		client: &http.Client{Transport: transport, Timeout: time.Minute},
		keys:   make(map[string][]byte, len(ids)),
	}
	var batches [][]string
	for len(ids) > 0 {
		n := min(bulkLimit, len(ids))
		batches = append(batches, ids[:n])
		ids = ids[n:]
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan []string)
	var wg sync.WaitGroup
	for range min(restLimit, len(batches)) {
		wg.Go(func() {
			for ids := range work {
				if err := r.batch(ctx, ids); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, b := range batches {
		if ctx.Err() != nil {
			break
		}
		work <- b
	}
	close(work)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("register devices: %w", err)
	}
	return r.keys, nil
}

type registrar struct {
	site   site
	cs     connectionString
	token  string
	client *http.Client

	mu   sync.Mutex
	keys map[string][]byte
}

type symmetricKey struct {
	PrimaryKey   string `json:"primaryKey"`
	SecondaryKey string `json:"secondaryKey"`
}

type authentication struct {
	Type         string       `json:"type"`
	SymmetricKey symmetricKey `json:"symmetricKey"`
}

type bulkEntry struct {
	ID             string         `json:"id"`
	ImportMode     string         `json:"importMode"`
	Status         string         `json:"status"`
	Authentication authentication `json:"authentication"`
}

func (r *registrar) batch(ctx context.Context, ids []string) error {
	entries := make([]bulkEntry, len(ids))
	keys := make(map[string][]byte, len(ids))
	for i, id := range ids {
		key := derivedKey(r.cs.key, id)
		keys[id] = key
		text := base64.StdEncoding.EncodeToString(key)
		other := base64.StdEncoding.EncodeToString(derivedKey(key, id))
		entries[i] = bulkEntry{
			ID: id, ImportMode: "create", Status: "enabled",
			Authentication: authentication{Type: "sas", SymmetricKey: symmetricKey{text, other}},
		}
	}
	body, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	status, answer, err := r.call(ctx, http.MethodPost, "/devices", body)
	if err != nil {
		return err
	}
	var result struct {
		IsSuccessful bool `json:"isSuccessful"`
		Errors       []struct {
			DeviceID    string `json:"deviceId"`
			ErrorCode   any    `json:"errorCode"` // name or number
			ErrorStatus string `json:"errorStatus"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(answer, &result); err != nil || (status != http.StatusOK && len(result.Errors) == 0) {
		return answered(status, answer)
	}
	for _, e := range result.Errors {
		code := fmt.Sprint(e.ErrorCode)
		if code != "DeviceAlreadyExists" && !strings.HasPrefix(code, "409") {
			return fmt.Errorf("device %s: %s: %s", e.DeviceID, code, e.ErrorStatus)
		}
		if keys[e.DeviceID], err = r.existing(ctx, e.DeviceID); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.keys, keys)
	return nil
}

// existing asks for the key of a device that was registered before.
func (r *registrar) existing(ctx context.Context, id string) ([]byte, error) {
	status, answer, err := r.call(ctx, http.MethodGet, "/devices/"+url.PathEscape(id), nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, answered(status, answer)
	}
	var device struct {
		Authentication authentication `json:"authentication"`
	}
	if err := json.Unmarshal(answer, &device); err != nil {
		return nil, fmt.Errorf("device %s: %w", id, err)
	}
	key, err := sas.ParseKey(device.Authentication.SymmetricKey.PrimaryKey)
	if err != nil {
		return nil, fmt.Errorf("device %s exists and has no symmetric key; choose another id or prefix", id)
	}
	return key, nil
}

func (r *registrar) call(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, r.site.rest+path+apiVersion, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", r.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, answer, errors.Join(err, resp.Body.Close())
}

// answered makes an error of an answer that is not the one asked for.
func answered(status int, answer []byte) error {
	var e struct{ Message string }
	text := strings.TrimSpace(string(answer))
	if json.Unmarshal(answer, &e) == nil && e.Message != "" {
		text = e.Message
	}
	if len(text) > 300 {
		text = text[:300]
	}
	return fmt.Errorf("the hub answered %d %s: %s", status, http.StatusText(status), text)
}
