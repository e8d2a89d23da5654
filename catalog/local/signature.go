package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/inflowhq/inflow/catalog/signatures"
	"github.com/inflowhq/inflow/schemas"
)

// maxSignature bounds a file of a signature, in bytes.
const maxSignature = 4 << 20

// signature reads what the file at a path of the document says of a model; nil where none is named.
func (b *builder) signature(path []string) *schemas.Signature {
	written, ok := b.doc.Text(path...)
	if !ok || written == "" {
		return nil
	}
	data, err := readSignature(b.path(written))
	if err != nil {
		b.doc.Add("`"+written+"` cannot be read: "+err.Error(), "name the MLmodel file, its folder, or an OpenAPI document", path...)
		return nil
	}
	read := signatures.MLmodel
	if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
		read = signatures.OpenAPI
	}
	found, err := read(data)
	if err != nil {
		b.doc.Add(strings.TrimPrefix(err.Error(), schemas.ErrInvalid.Error()+": "), "log the model with a signature, or leave `signature` out", path...)
	}
	return found
}

func readSignature(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, "MLmodel")
		info, err = os.Stat(path)
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("it is no file")
	}
	file, err := os.Open(path) //nolint:gosec // the catalog names it
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, inner.Err // the document shows the path as it is written
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSignature+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxSignature {
		return nil, fmt.Errorf("it is longer than %d MiB", maxSignature>>20)
	}
	return data, nil
}
