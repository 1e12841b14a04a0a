// Package job owns what is done to many devices at once: scheduled changes of
// twins and method calls over a condition, and the import and export of
// identities. It keeps the jobs, a record for each device of a scheduled job
// with what came of it, and what must be known to go on after a restart.
//
// A scheduled job first writes a pending record for every device that its
// condition selects, page by page with its place, and only then begins. So the
// devices of a job are those that met the condition when it started, and
// nothing that the job changes makes it lose one or meet one twice. A device
// is finished when its outcome is stored. What was under way when the process
// died is done again: a change of a twin is merged once more, which gives the
// same twin with a higher version; a method may be called twice.
//
// The room knows no other one: finding devices, changing twins and calling
// methods are functions that its owner passes in. Of several nodes on one store
// one runs the jobs (engine/leader); all of them take orders. When it dies
// another goes on after some ten seconds. The methods of a job reach the devices
// that are connected to the node that runs it.
package job
