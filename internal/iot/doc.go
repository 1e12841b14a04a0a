// Package iot holds the nouns that every floor of Dunlin shares: identities,
// messages and the one domain error with its documented codes. It depends on
// the standard library only, holds no state and starts nothing.
package iot
