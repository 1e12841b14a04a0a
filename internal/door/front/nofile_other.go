//go:build !unix

package front

func raiseOpenFiles() error { return nil }
