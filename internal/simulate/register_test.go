package simulate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dunlin/internal/wire/sas"
)

// bulkHub is the part of the service REST interface that registering uses.
type bulkHub struct {
	t *testing.T

	mu    sync.Mutex
	keys  map[string]string
	calls int
	fail  string // body of every answer, with 401
}

func (h *bulkHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	token, err := sas.Parse(r.Header.Get("Authorization"))
	if err != nil || !token.Verify(testKey) || r.URL.Query().Get("api-version") == "" {
		h.t.Errorf("%s %s: token %v", r.Method, r.URL, err)
	}
	if h.fail != "" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, h.fail)
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/devices/"); ok {
		fmt.Fprintf(w, `{"deviceId":%q,"authentication":{"type":"sas","symmetricKey":{"primaryKey":%q}}}`, id, h.keys[id])
		return
	}
	var entries []bulkEntry
	if err := json.NewDecoder(r.Body).Decode(&entries); err != nil || len(entries) > 100 {
		h.t.Errorf("%d entries: %v", len(entries), err)
	}
	var errs []string
	for _, e := range entries {
		if h.keys[e.ID] != "" {
			errs = append(errs, fmt.Sprintf(`{"deviceId":%q,"errorCode":"DeviceAlreadyExists","errorStatus":"it is there"}`, e.ID))
			continue
		}
		h.keys[e.ID] = e.Authentication.SymmetricKey.PrimaryKey
	}
	if len(errs) > 0 {
		w.WriteHeader(http.StatusBadRequest)
	}
	fmt.Fprintf(w, `{"isSuccessful":%v,"errors":[%s],"warnings":[]}`, len(errs) == 0, strings.Join(errs, ","))
}

func TestResolveRegistersDevices(t *testing.T) {
	hub := &bulkHub{t: t, keys: map[string]string{"sim-7": base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32))}}
	server := httptest.NewTLSServer(hub)
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Config{
		ConnectionString: policyString(), HostName: "alias.test", Server: "127.0.0.1:1", REST: server.URL, CAFile: ca,
		Devices: 250, Create: true,
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	_, first, err := resolve(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 250 || len(hub.keys) != 250 || hub.calls != 4 {
		t.Errorf("%d devices, %d registered, %d calls", len(first), len(hub.keys), hub.calls)
	}
	for _, d := range first {
		if d.policy != "" || base64.StdEncoding.EncodeToString(d.key) != hub.keys[d.id.Device] {
			t.Errorf("%s does not have the key that it is registered with", d.id.Device)
		}
	}
	// A second run finds the devices of the first.
	if _, again, err := resolve(t.Context(), c, []string{"sim-3"}); err != nil || !bytes.Equal(again[0].key, first[3].key) {
		t.Errorf("%v: another key for sim-3", err)
	}
	// Without registering, the hub's policy speaks for all devices.
	c.Create = false
	if _, plain, err := resolve(t.Context(), c, nil); err != nil || plain[0].policy != "device" {
		t.Errorf("%v: %+v", err, plain)
	}
	c.Create, hub.fail = true, `{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}`
	if _, _, err := resolve(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "IotHubUnauthorizedAccess") {
		t.Errorf("error %v", err)
	}
}
