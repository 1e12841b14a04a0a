package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/api/admin"
	"dunlin/internal/app"
)

type doctorCmd struct {
	Config configFile `name:"config" placeholder:"FILE" help:"Configuration file to check."`
}

// The outcomes of a check.
const (
	levelOK   = "ok"
	levelInfo = "info" // worth knowing, nothing to do
	levelWarn = "warning"
	levelBad  = "problem"
)

// finding is the outcome of one check.
type finding struct {
	Check  string `json:"check"`
	Level  string `json:"level"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"` // what to do, unless all is well
}

// doctor gathers findings.
type doctor struct {
	s        *session
	findings []finding
	instance *app.Instance // the running one
	info     *admin.Info   // what it answered
}

func (d *doctor) add(check, level, detail, remedy string) {
	d.findings = append(d.findings, finding{check, level, detail, remedy})
}

// Run checks everything and fails when there is a problem.
func (c *doctorCmd) Run(s *session) error {
	d := &doctor{s: s}
	d.configuration(string(c.Config))
	d.dataDir()
	d.running(s.ctx)
	d.ports(s.ctx)
	d.disk()
	d.clock()
	d.certificates()
	d.openFiles()
	problems := 0
	for _, f := range d.findings {
		if f.Level == levelBad {
			problems++
		}
	}
	if s.JSON {
		if err := s.printJSON(map[string]any{"ok": problems == 0, "checks": d.findings}); err != nil {
			return err
		}
	} else {
		for _, f := range d.findings {
			s.printf("%-8s %-14s %s\n", f.Level, f.Check, f.Detail)
			if f.Remedy != "" {
				s.printf("%-8s %-14s -> %s\n", "", "", f.Remedy)
			}
		}
		if problems == 0 {
			s.printf("\nNo problem found.\n")
		} else {
			s.printf("\n%s found.\n", count(problems, "problem", "problems"))
		}
	}
	if problems > 0 {
		return &silentError{}
	}
	return nil
}

// configuration checks what can be checked of a file without starting.
func (d *doctor) configuration(path string) {
	const check = "configuration"
	if path == "" {
		return
	}
	if err := app.CheckFile(path); err != nil {
		d.add(check, levelBad, err.Error(), "correct "+path+"; docs/ops/configuration.md lists the settings")
		return
	}
	d.add(check, levelOK, path, "")
}

// quota shows what the hub limits, and warns of a quota that is nearly used up.
func (d *doctor) quota(h admin.HubInfo) {
	const check = "limits"
	text := limitsOf(&h)
	switch t := h.Tier; {
	case t != nil && t.Messages >= t.Limit:
		d.add(check, levelBad, text+": messages are refused until midnight UTC", "raise the settings hub.tier and hub.units, or set hub.tier to none")
	case t != nil && t.Messages >= t.Limit/10*9:
		d.add(check, levelWarn, text, "raise the settings hub.tier and hub.units before the day's messages are used up")
	default:
		d.add(check, levelOK, text, "")
	}
}

// dataDir checks that the data directory can be used and keeps its secrets.
func (d *doctor) dataDir() {
	const check = "data directory"
	dir := d.s.Data
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.add(check, levelInfo, dir+" does not exist yet; the first start makes it", "")
		return
	case err != nil:
		d.add(check, levelBad, err.Error(), "give the user that runs dunlin access, or choose another directory with --data")
		return
	case !st.IsDir():
		d.add(check, levelBad, dir+" is not a directory", "choose another one with --data")
		return
	}
	probe, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		d.add(check, levelBad, dir+" cannot be written: "+err.Error(), "run this as the user that runs dunlin; if it is, give that user write permission")
		return
	}
	probe.Close()
	os.Remove(probe.Name()) //nolint:errcheck // an empty file; the next run would say more
	for _, secret := range []string{"run/admin.token", "pki/ca.key", "pki/server.key"} {
		path := filepath.Join(dir, filepath.FromSlash(secret))
		if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
			d.add(check, levelBad, path+" can be read by other users", "chmod 600 "+path)
			return
		}
	}
	d.add(check, levelOK, dir, "")
}

// running checks the instance on the data directory, if there is one.
func (d *doctor) running(ctx context.Context) {
	const check = "instance"
	i, err := app.ReadInstance(d.s.Data)
	if errors.Is(err, app.ErrNotRunning) {
		d.add(check, levelInfo, "none is running on this data directory", "")
		return
	}
	if err != nil {
		d.add(check, levelBad, err.Error(), "")
		return
	}
	d.instance = &i
	const answer = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	cl, err := instanceClient(i)
	if err == nil {
		var info admin.Info
		if info, err = cl.info(ctx); err == nil {
			d.info = &info
		}
	}
	if err != nil {
		d.add(check, levelBad, fmt.Sprintf("pid %d runs and does not answer: %v", i.PID, err), "look at its log; stop it with SIGTERM and start it again if it stays so")
		return
	}
	d.add(check, levelOK, fmt.Sprintf("pid %d, version %s, up for %s, host name %s", i.PID, i.Version, roughly(time.Since(i.Started)), i.HostName), "")
	d.quota(d.info.Hub)
	for _, w := range d.info.Warnings {
		d.add(check, levelWarn, w, "")
	}
	if addrs, err := net.DefaultResolver.LookupHost(ctx, i.HostName); err != nil || len(addrs) == 0 {
		d.add("host name", levelWarn, i.HostName+" does not resolve on this machine", "add it to the name service, or to the hosts file of each device: ADDRESS "+i.HostName)
	}
	if !strings.Contains(i.HostName, ".") {
		d.add("host name", levelInfo, i.HostName+" has no dot: fine for the Node.js and Python SDKs; the C, C# and Java SDKs need one", "for those, start with --host-name NAME.DOMAIN")
	}
}

// ports checks that the usual ports can be bound, when no instance has them.
func (d *doctor) ports(ctx context.Context) {
	if d.instance != nil {
		return
	}
	defaults := app.Default()
	for _, p := range []struct{ name, addr, flag string }{
		{"MQTT", defaults.MQTTAddr, "--mqtt-addr"},
		{"HTTPS", defaults.HTTPSAddr, "--https-addr"},
	} {
		check := "port " + strings.TrimPrefix(p.addr, ":")
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", p.addr)
		switch {
		case err == nil:
			l.Close()
			d.add(check, levelOK, "free for "+p.name, "")
		case errors.Is(err, fs.ErrPermission):
			d.add(check, levelWarn, "not permitted to this user: "+p.name+" will be on 8443, which SDKs with 443 built in do not find",
				"run as root, or once: setcap cap_net_bind_service=+ep "+executable())
		default:
			_, port, _ := net.SplitHostPort(p.addr) // a constant of ours
			holder := "another program"
			if n, err := strconv.Atoi(port); err == nil {
				if h := app.PortHolder(n); h != "" {
					holder = h
				}
			}
			d.add(check, levelBad, "in use by "+holder, "stop it, or choose another address with "+p.flag)
		}
	}
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return "the program file"
	}
	return path
}

// disk checks the space that is left for the log.
func (d *doctor) disk() {
	const (
		check  = "disk"
		little = 1 << 30
		scarce = 256 << 20
	)
	free, total, err := diskSpace(existing(d.s.Data))
	if err != nil {
		d.add(check, levelInfo, "free space is not known: "+err.Error(), "")
		return
	}
	detail := fmt.Sprintf("%s of %s free", app.Bytes(free), app.Bytes(total))
	remedy := "free some, give the data directory a larger disk, or bound the log with --retention-age and --retention-bytes"
	switch {
	case free < scarce:
		d.add(check, levelBad, detail+": messages will soon be refused", remedy)
	case free < little || free*20 < total:
		d.add(check, levelWarn, detail, remedy)
	default:
		d.add(check, levelOK, detail, "")
	}
}

// existing gives the nearest directory above path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// clock checks what can be checked without another clock: tokens are refused
// when the clocks of device and instance are minutes apart.
func (d *doctor) clock() {
	const check = "clock"
	now := time.Now()
	if built := buildTime(); now.Year() < 2025 || now.Before(built) {
		d.add(check, levelBad, "it is not "+now.UTC().Format(time.RFC3339)+": this program was built on "+built.Format(time.DateOnly), "set the clock, best by NTP")
		return
	}
	switch known, synced := clockSynced(); {
	case known && !synced:
		d.add(check, levelWarn, now.UTC().Format(time.RFC3339)+", not synchronised: devices whose clocks differ by more than five minutes are refused", "run an NTP client such as chrony or systemd-timesyncd")
	default:
		d.add(check, levelOK, now.UTC().Format(time.RFC3339), "")
	}
}

// buildTime is when the program was written to disk, at the latest now.
func buildTime() time.Time {
	path, err := os.Executable()
	if err != nil {
		return time.Time{}
	}
	st, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

// certificates checks what clients will see.
func (d *doctor) certificates() {
	const (
		check = "certificate"
		soon  = 14 * 24 * time.Hour
	)
	leaf, err := d.serverCertificate()
	if errors.Is(err, fs.ErrNotExist) {
		d.add(check, levelInfo, "none yet; the first start makes it", "")
		return
	}
	if err != nil {
		d.add(check, levelBad, err.Error(), "start the instance; it says more")
		return
	}
	left := time.Until(leaf.NotAfter)
	names := strings.Join(leaf.DNSNames, ", ")
	detail := fmt.Sprintf("for %s, ends on %s", names, leaf.NotAfter.Format(time.DateOnly))
	switch {
	case left <= 0:
		d.add(check, levelBad, detail+": clients refuse it", "start the instance again, which renews its own certificate, or replace the file of --tls-cert")
	case left < soon:
		d.add(check, levelWarn, detail, "its own certificate is renewed by the running instance; replace the file of --tls-cert yourself")
	default:
		d.add(check, levelOK, detail, "")
	}
	if d.instance != nil && leaf.VerifyHostname(d.instance.HostName) != nil {
		d.add(check, levelBad, "does not name the host "+d.instance.HostName+": clients refuse it", "use a certificate for that name, or start with the --host-name that it names")
	}
}

// serverCertificate is what the running instance shows, else the file.
func (d *doctor) serverCertificate() (*x509.Certificate, error) {
	if d.instance != nil && d.instance.HTTPS != "" {
		const limit = 5 * time.Second
		dialer := tls.Dialer{
			NetDialer: &net.Dialer{Timeout: limit},
			// It is looked at, nothing is sent.
			Config: &tls.Config{InsecureSkipVerify: true, ServerName: d.instance.HostName, MinVersion: tls.VersionTLS12}, //nolint:gosec
		}
		conn, err := dialer.DialContext(d.s.ctx, "tcp", d.instance.HTTPS)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
	}
	path := filepath.Join(d.s.Data, "pki", "server.pem")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return x509.ParseCertificate(block.Bytes)
}

// openFiles checks the limit that bounds the number of connections.
func (d *doctor) openFiles() {
	const (
		check = "open files"
		few   = 65536
	)
	limit, err := fileLimit()
	if err != nil {
		return // this system has no such limit
	}
	detail := fmt.Sprintf("at most %d, each connection is one", limit)
	if limit < few {
		d.add(check, levelWarn, detail, "for more devices: ulimit -Hn, or LimitNOFILE=1048576 in a systemd unit")
		return
	}
	d.add(check, levelOK, detail, "")
}
