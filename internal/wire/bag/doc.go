// Package bag is the codec of the property bag: the system and application
// properties that MQTT carries at the end of a topic, as name=value pairs
// joined by & and percent-encoded.
//
//	scratch, err = bag.Parse(&m, scratch, topic[len("devices/d1/messages/events/"):])
//	topic = bag.Append(topic, &m)
//
// Names that begin with "$." and stand in iot's table are system properties;
// all others, "$" or not, are application properties. Which of them a sender
// may set is for the caller to decide.
package bag
