package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"dunlin/internal/app"
	"dunlin/internal/simulate"
)

type demoCmd struct {
	serveFlags

	Fleet   string `name:"fleet" placeholder:"NAME" group:"Demo" help:"Only this kind of devices (all of ${fleets})."`
	Devices int    `name:"devices" placeholder:"N" group:"Demo" help:"Devices of each kind (a handful)."`
	Quiet   bool   `name:"quiet" short:"q" group:"Demo" help:"Do not show the log of the instance."`
}

// demoDevice is the device that the snippet of the demo connects as.
const demoDevice = "my-first-device"

// Run serves and simulates until the context ends.
func (c *demoCmd) Run(s *session) error {
	cfg, err := c.settings(s)
	if err != nil {
		return err
	}
	var fleets []simulate.Fleet
	for _, f := range simulate.Fleets() {
		if c.Fleet == "" || c.Fleet == f.Name {
			fleets = append(fleets, f)
		}
	}
	if len(fleets) == 0 {
		return usagef("--fleet %s: there are %s", c.Fleet, fleetNames())
	}
	logTo := s.err
	if c.Quiet {
		logTo = io.Discard
	}
	a, err := app.New(s.ctx, cfg, app.Build{Version: s.version}, app.NewLogger(logTo, cfg))
	if err != nil {
		return err
	}
	// Devices stop before the instance does, or their last messages would go
	// unanswered and the log fill with lost connections.
	serving, stopServing := context.WithCancel(context.WithoutCancel(s.ctx))
	defer stopServing()
	served := make(chan error, 1)
	go func() { served <- a.Run(serving) }()

	simulating, stopSimulating := context.WithCancel(s.ctx)
	defer stopSimulating()
	var devices sync.WaitGroup
	devices.Go(func() {
		if err := c.play(simulating, s, a, fleets); err != nil && simulating.Err() == nil {
			s.notef("dunlin: demo: %v\n", err)
		}
	})
	select {
	case err = <-served: // it failed by itself
		stopSimulating()
		devices.Wait()
		return err
	case <-s.ctx.Done():
	}
	devices.Wait()
	stopServing()
	return <-served
}

// play waits for the instance, says what there is to see and runs the fleets.
func (c *demoCmd) play(ctx context.Context, s *session, a *app.App, fleets []simulate.Fleet) error {
	const startLimit = 30 * time.Second
	waiting := *s
	waiting.URL = ""
	i, err := waiting.waitInfo(ctx, startLimit)
	if err != nil {
		return err
	}
	local := a.Instance()
	cl, err := instanceClient(local)
	if err != nil {
		return err
	}
	key, err := cl.ensureDevice(ctx, demoDevice)
	if err != nil {
		return err
	}
	_, mqttPort, err := net.SplitHostPort(i.MQTT)
	if err != nil {
		return errors.New("the demo needs MQTT: leave the role gateway on")
	}
	host := i.HostName
	if mqttPort != "8883" {
		host += ":" + mqttPort
	}
	total := 0
	var running sync.WaitGroup
	for n, f := range fleets {
		count := f.Devices
		if c.Devices > 0 {
			count = c.Devices
		}
		total += count
		running.Go(func() {
			_, err := simulate.Run(ctx, simulate.Config{
				ConnectionString: i.Hub.ConnectionStrings["iothubowner"], HostName: i.HostName,
				Server: local.MQTT, REST: "https://" + local.HTTPS, CAFile: i.CAFile,
				Fleet: f.Name, Prefix: f.Name + "-", Devices: count, Create: true, QoS: 1, Seed: uint64(n + 1),
			})
			if err != nil && ctx.Err() == nil {
				s.notef("dunlin: demo: fleet %s: %v\n", f.Name, err)
			}
		})
	}
	s.welcome(welcome{
		https: i.HTTPS, mqtt: i.MQTT, ca: i.CAFile, metrics: i.Metrics,
		device: "HostName=" + host + ";DeviceId=" + demoDevice + ";SharedAccessKey=" + key,
		owner:  i.Hub.ConnectionStrings["iothubowner"],
		fleets: fleets, total: total,
	})
	running.Wait()
	return nil
}

type welcome struct {
	https, mqtt, ca, metrics string
	device, owner            string
	fleets                   []simulate.Fleet
	total                    int
}

// welcome says what runs and what to try.
func (s *session) welcome(w welcome) {
	program := "dunlin"
	if len(os.Args) > 0 && strings.Contains(os.Args[0], string(filepath.Separator)) {
		program = os.Args[0]
	}
	data := ""
	if dir, err := expandHome("~/.local/share/dunlin"); err != nil || dir != s.Data {
		data = " --data " + s.Data
	}
	kinds := make([]string, len(w.fleets))
	for i, f := range w.fleets {
		kinds[i] = "  " + f.Name + ": " + f.About
	}
	s.printf(`
Dunlin runs, with %s:
%s

  HTTPS    %s
  MQTT     %s
  CA file  %s
  metrics  %s

Three things to try in another terminal:
  1. %[7]s tail%[8]s                        watch what the devices send
  2. %[7]s device list%[8]s                 see the devices, and who is connected
  3. Connect a device of your own, with Node.js:

npm install azure-iot-device azure-iot-device-mqtt
cat > device.js <<'EOF'
const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const client = Client.fromConnectionString('%[9]s', Mqtt);
client.open().then(async () => {
  const message = new Message(JSON.stringify({ temperature: 21.5 }));
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  await client.sendEvent(message);
  console.log('stored');
  await client.close();
}).catch((err) => { console.error(err); process.exit(1); });
EOF
NODE_EXTRA_CA_CERTS='%[10]s' node device.js

For applications (service SDKs, Azure CLI and so on), the connection string of the hub:
  %[11]s

Ctrl+C ends the demo; what was sent stays in %[12]s.

`, count(w.total, "simulated device", "simulated devices"), strings.Join(kinds, "\n"),
		w.https, w.mqtt, w.ca, w.metrics, program, data, w.device, w.ca, w.owner, s.Data)
}
