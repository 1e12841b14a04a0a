// Package record is the codec of the stored event: the bytes that ingest puts
// into the log (eventlog.Record.Data) and that every reader of the log
// decodes. Position, sequence number and time belong to the log and are not in
// these bytes. docs/formats/record.md describes them; files in testdata hold
// one record of each kind for every version and must stay readable.
//
//	origin := record.AppendOrigin(nil, o)          // once per connection
//	buf = record.AppendEvent(buf[:0], origin, &m)  // per message
//
//	var e record.Event                             // one per reader loop
//	err := record.Decode(rec.Data, &e)             // e views rec.Data
//
// Nothing here allocates per event once the slices of the caller have grown;
// a reader allocates once for each origin that it has not met lately.
package record
