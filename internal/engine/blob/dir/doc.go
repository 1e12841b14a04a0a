// Package dir keeps blobs as files below one directory, which belongs to one
// process at a time. It owns the names and the form of these files;
// docs/formats/blobs.md describes them. All access goes through an os.Root:
// whatever a blob is called, no file outside of the directory is touched.
package dir
