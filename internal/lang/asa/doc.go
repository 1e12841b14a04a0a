// Package asa reads the stream query language of Azure Stream Analytics: it
// cuts a text into a tree, checks what can be known before any event is seen,
// and prints a tree so that reading it gives the same tree. It executes
// nothing.
//
// Where the published documentation contradicts itself this package takes the
// side that loses nothing: both orders of TIMESTAMP BY and PARTITION BY, INTO
// before and after FROM, aliases in single quotes.
package asa
