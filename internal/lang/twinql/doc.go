// Package twinql owns the query language over devices, modules and jobs: text
// to syntax tree and back, names and types, and what an expression means for
// one document. It knows no storage: whoever runs queries walks the tree.
//
//	query = SELECT [TOP n] ( "*" | proj {"," proj} ) FROM coll [WHERE cond] [GROUP BY path {"," path}]
//	coll  = devices | devices.modules | devices.jobs
//	proj  = ( path | agg ) [ AS name ]
//	agg   = COUNT "(" ["*" | path] ")" | (AVG|SUM|MIN|MAX) "(" path ")"
//	path  = seg { "." seg | "[" int "]" | ["."] "[[" any "]]" }
//	cond  = cond OR cond | cond AND cond | NOT cond | "(" cond ")" | expr cmp expr | expr [NOT] IN array | expr NIN array | func
//
// Keywords, functions and the members of a schema are found in any case.
// Logic has three values: a member that is missing is undefined, comparing it
// or comparing two different types is undefined, and only true selects.
//
// The expressions stand for themselves (ParseCondition, Eval): conditions of
// jobs, configurations and routes use them too, each with a Source of its own.
package twinql
