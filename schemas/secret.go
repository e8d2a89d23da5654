package schemas

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Secret is a value that no log, error, file or format verb shows. Reveal is the only way to the text.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text: text} }

// Reveal returns the text; call it only where the secret goes onto the wire.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether there is no secret at all.
func (s Secret) IsZero() bool { return s.text == "" }

// Format hides the text from every verb of package fmt.
func (Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// String hides the text from whoever asks for it directly.
func (Secret) String() string { return redacted }

// MarshalText hides the text from JSON, YAML and the like.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
