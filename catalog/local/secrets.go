package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/schemas"
)

// maxSecretBytes is the largest secret that is read from a file.
const maxSecretBytes = 64 << 10

// secret finds the value of one secret, or says why it is not to be had. It is a function so that what holds
// it holds no text: no way of printing a function shows what it knows.
type secret func() (schemas.Secret, error)

// secretEntry says where a secret comes from: exactly one is set.
type secretEntry struct {
	Env  string `yaml:"env"`
	File string `yaml:"file"`
}

// secret returns what finds the secret that a reference, {{secrets/scope/key}}, names.
func (b *builder) secret(reference string, path []string) secret {
	name := strings.TrimPrefix(strings.TrimSpace(strings.Trim(reference, "{}")), "secrets/")
	entry, ok := b.file.Secrets[name]
	if !ok {
		known := make([]string, 0, len(b.file.Secrets))
		for other := range b.file.Secrets {
			known = append(known, other)
		}
		mend := "add `secrets: {" + name + ": {env: OPENAI_API_KEY}}`"
		if near := document.Nearest(name, known); near != "" {
			mend = "did you mean `{{secrets/" + near + "}}`?"
		}
		// A value that is no reference has a fault already, and then nothing of it is shown.
		b.doc.Add("the secret `"+name+"` is not under `secrets`", mend, path...)
		return nil
	}
	if entry.File != "" {
		path := b.path(entry.File)
		return func() (schemas.Secret, error) { return fromFile(name, path) }
	}
	lookupEnv := b.lookupEnv
	return func() (schemas.Secret, error) { return fromEnv(name, entry.Env, lookupEnv) }
}

func fromEnv(name, variable string, lookupEnv func(string) (string, bool)) (schemas.Secret, error) {
	value, ok := lookupEnv(variable)
	if !ok || value == "" {
		state := "is not set"
		if ok {
			state = "is empty"
		}
		return schemas.Secret{}, failure{
			text: fmt.Sprintf("secret %s: environment variable %s %s; export %s=...", name, variable, state, variable),
			kind: schemas.ErrInvalid,
		}
	}
	return usable(name, "environment variable "+variable, value)
}

func fromFile(name, path string) (schemas.Secret, error) {
	file, err := os.Open(path) //nolint:gosec // the file that the catalog names
	if err != nil {
		return schemas.Secret{}, unreadable(name, path, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return schemas.Secret{}, unreadable(name, path, err)
	}
	if len(data) > maxSecretBytes {
		return schemas.Secret{}, failure{
			text: fmt.Sprintf("secret %s: file %s is larger than %d bytes; it should hold the secret and nothing else",
				name, path, maxSecretBytes), kind: schemas.ErrInvalid,
		}
	}
	return usable(name, "file "+path, strings.TrimRight(string(data), "\r\n"))
}

func unreadable(name, path string, err error) error {
	reason := err
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		reason = inner.Err
	}
	return failure{
		text: fmt.Sprintf("secret %s: file %s cannot be read: %v; write the secret there", name, path, reason),
		kind: schemas.ErrInvalid,
	}
}

// usable refuses what cannot go into a header, which would fail later and might show the value.
func usable(name, origin, value string) (schemas.Secret, error) {
	if value == "" {
		return schemas.Secret{}, failure{
			text: fmt.Sprintf("secret %s: %s is empty; write the secret there", name, origin), kind: schemas.ErrInvalid,
		}
	}
	// The private key of a service account is a file of lines, which goes into no header.
	lines := strings.HasPrefix(value, "{") || strings.HasPrefix(value, "-----BEGIN ")
	for _, char := range value {
		if lines && (char == '\n' || char == '\r' || char == '\t') {
			continue
		}
		if char < ' ' || char == 0x7f {
			return schemas.Secret{}, failure{
				text: fmt.Sprintf("secret %s: %s holds a line break or a control character; keep the secret alone", name, origin),
				kind: schemas.ErrInvalid,
			}
		}
	}
	return schemas.NewSecret(value), nil
}
