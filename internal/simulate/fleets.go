package simulate

import "slices"

// Fleet is a named kind of device with its payload and habits.
type Fleet struct {
	Name       string
	About      string // one line for a list of fleets
	Template   string // see Template
	Properties map[string]string
	Rate       float64 // messages per second of each device, unless the user says otherwise
	Devices    int     // a reasonable number for a demonstration
}

var fleets = []Fleet{
	{
		Name:  "thermostat",
		About: "room thermostats: temperature, humidity, set point, heating",
		Template: `{"deviceId":"{{device}}","time":"{{time}}","temperature":{{walk 17.50 26.50 0.15}},` +
			`"humidity":{{walk 30.0 60.0 0.4}},"setPoint":{{pick 20.5 21.0 21.5}},"heating":{{pick true false}}}`,
		Properties: map[string]string{"kind": "thermostat", "site": "{{pick north south}}"},
		Rate:       0.5,
		Devices:    8,
	},
	{
		Name:  "pump",
		About: "a pump that hums: speed, flow, pressure, vibration, bearing temperature",
		Template: `{"deviceId":"{{device}}","time":"{{time}}","speed":{{walk 1440 1500 6}},"flow":{{sine 42.0 48.0 60}},` +
			`"pressure":{{walk 3.80 4.60 0.03}},"vibration":{{walk 0.80 2.60 0.08}},"bearingTemperature":{{walk 48.0 71.0 0.5}}}`,
		Properties: map[string]string{"kind": "pump"},
		Rate:       2,
		Devices:    2,
	},
	{
		Name:  "truck",
		About: "trucks on the road: position, speed, heading, fuel, load temperature",
		Template: `{"deviceId":"{{device}}","time":"{{time}}","location":{"lat":{{walk 47.20000 48.20000 0.0040}},` +
			`"lon":{{walk 8.40000 9.80000 0.0060}}},"speed":{{walk 55 89 4}},"heading":{{int 0 359}},` +
			`"fuel":{{walk 20.0 95.0 0.2}},"loadTemperature":{{walk -21.0 -15.0 0.3}},"trip":{{seq}}}`,
		Properties: map[string]string{"kind": "truck"},
		Rate:       1,
		Devices:    5,
	},
	{
		Name:     "counter",
		About:    "the smallest message that still shows gaps and disorder: device, number, time",
		Template: `{"deviceId":"{{device}}","seq":{{seq}},"time":"{{time}}"}`,
		Rate:     1,
		Devices:  1,
	},
}

// Fleets lists the built-in fleets; the first is the default. The caller owns
// the result.
func Fleets() []Fleet { return slices.Clone(fleets) }

// FleetByName finds a built-in fleet.
func FleetByName(name string) (Fleet, bool) {
	i := slices.IndexFunc(fleets, func(f Fleet) bool { return f.Name == name })
	if i < 0 {
		return Fleet{}, false
	}
	return fleets[i], true
}
