package twin

// maxNest bounds how deep arrays and objects may be nested in any text,
// whatever the profile: it keeps the recursion of the reader small.
const maxNest = 64

// maxNumber bounds the characters of one number.
const maxNumber = 128

// Limits is what a hub allows of twins. Sizes are bytes of UTF-8 text.
type Limits struct {
	Profile  string // its name, for the texts of refusals
	Key      int    // of one key
	String   int    // of one string value, after decoding
	Depth    int    // objects within objects, the section itself not counted
	Tags     int    // of each section, as the documented rule counts it
	Desired  int
	Reported int
	Integer  int64 // integers lie in -Integer..Integer-1; 0 is no limit
	Waiting  int   // changes of one twin that wait to be stored
}

// source says in refusals where a limit comes from and what sets it; setting
// is its name in hub.limits.
func (l *Limits) source(setting string) string {
	if l.Profile == "open" && setting != "" {
		return "open limits, set by hub.limits." + setting
	}
	return l.Profile + " limits, hub.profile open has larger ones"
}

// StrictLimits gives the documented limits of the public service.
func StrictLimits() Limits {
	return Limits{
		Profile: "strict", Key: 1 << 10, String: 4 << 10, Depth: 10,
		Tags: 8 << 10, Desired: 32 << 10, Reported: 32 << 10, Integer: 1 << 52, Waiting: 1000,
	}
}

// OpenLimits gives wider limits, for hubs that need not stay compatible.
func OpenLimits() Limits {
	return Limits{
		Profile: "open", Key: 4 << 10, String: 64 << 10, Depth: 32,
		Tags: 64 << 10, Desired: 256 << 10, Reported: 256 << 10, Waiting: 1000,
	}
}

// maxText bounds the text of a section before it is read: escapes and blanks
// make it longer than what is counted, but not without end.
func maxText(section int) int { return 4*section + 16<<10 }

// MaxBody is the largest body in bytes of a change by the back end.
func (l *Limits) MaxBody() int64 {
	return int64(maxText(l.Tags) + maxText(l.Desired) + maxText(l.Reported))
}
