package wire

import (
	"context"

	"github.com/inflowhq/inflow/schemas"
)

// Key authorizes calls with a secret in a header, "Bearer " before it where prefix says so. It returns nil for no key.
func Key(header, prefix string, key schemas.Secret) func(context.Context, *Call) error {
	if key.IsZero() {
		return nil
	}
	value := []string{prefix + key.Reveal()}
	return func(_ context.Context, call *Call) error {
		call.Header[header], call.Key = value, key
		return nil
	}
}
