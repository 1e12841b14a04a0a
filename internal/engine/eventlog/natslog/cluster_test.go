package natslog

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"dunlin/internal/engine/eventlog"
)

// startCluster runs three NATS servers that form a cluster.
func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	var ports []int
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
		ln.Close()
	}
	var routes []*url.URL
	for _, p := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", p)})
	}
	var servers []*server.Server
	for i, p := range ports {
		srv, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: p},
			Routes:  routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		srv.Start()
		servers = append(servers, srv)
	}
	t.Cleanup(func() {
		for _, srv := range servers {
			srv.Shutdown()
			srv.WaitForShutdown()
		}
	})
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("the cluster does not form")
		}
		for _, srv := range servers {
			if srv.JetStreamIsLeader() && len(srv.JetStreamClusterPeers()) == 3 {
				return servers
			}
		}
	}
}

// TestCluster stops the server that leads the stream under traffic, with
// three replicas: the log goes on, nothing is lost and nothing comes twice.
func TestCluster(t *testing.T) {
	servers := startCluster(t)
	var urls []string
	for _, srv := range servers {
		urls = append(urls, srv.ClientURL())
	}
	cfg := Config{URL: strings.Join(urls, ","), Replicas: 3, AckWait: time.Second}
	l := open(t, cfg)
	tr := startTraffic(l)
	time.Sleep(300 * time.Millisecond)
	stopped := false
	for _, srv := range servers {
		if srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, l.stream) {
			srv.Shutdown()
			srv.WaitForShutdown()
			stopped = true
		}
	}
	if !stopped {
		t.Fatal("no server leads the stream")
	}
	before, _, _ := tr.w.Settled()
	start := time.Now()
	for settled := before; settled < before+200; settled, _, _ = tr.w.Settled() {
		if time.Since(start) > 30*time.Second {
			t.Fatal("nothing becomes durable any more")
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("went on after %v", time.Since(start))
	tr.finish(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	defer l.Close()
	n := 0
	for _, err := range l.Read(t.Context(), 1, eventlog.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != tr.n {
		t.Fatalf("%d records in the log opened again, want %d", n, tr.n)
	}
}
