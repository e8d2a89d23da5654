package gemini

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	cloudScope    = "https://www.googleapis.com/auth/cloud-platform"
	grantURL      = "https://oauth2.googleapis.com/token"
	assertionLife = time.Hour        // the longest that Google takes
	clockSkew     = 10 * time.Second // by which our clock may be ahead of Google's
)

// serviceAccount asks for access tokens with a service account's key (developers.google.com/identity/protocols/oauth2/
// service-account, "Using OAuth 2.0 for server to server applications", HTTP/REST).
type serviceAccount struct {
	email, keyID, audience string
	key                    *rsa.PrivateKey
}

// serviceTokens are those of a key file's account. Its errors show nothing of the file.
func serviceTokens(secret schemas.Secret, client *wire.Client) (*wire.Tokens, error) {
	invalid := func(reason string) error {
		return fmt.Errorf("%w: private_key %s; give the JSON key file of a service account, whole", schemas.ErrInvalid, reason)
	}
	var file struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		PrivateKeyID string `json:"private_key_id"`
		PrivateKey   string `json:"private_key"`
		TokenURI     string `json:"token_uri"`
	}
	text := strings.TrimSpace(secret.Reveal())
	switch {
	case text == "":
		return nil, invalid("is missing")
	case strings.HasPrefix(text, "-----BEGIN"):
		return nil, invalid("is the key alone")
	case json.Unmarshal([]byte(text), &file) != nil:
		return nil, invalid("is not JSON")
	case file.Type != "service_account" || file.ClientEmail == "":
		return nil, invalid("is of no service account")
	}
	key := readKey(file.PrivateKey)
	if key == nil {
		return nil, invalid("holds no RSA key")
	}
	if file.TokenURI == "" {
		file.TokenURI = grantURL
	}
	to, err := url.Parse(file.TokenURI)
	if err != nil || (to.Scheme != "https" && to.Scheme != "http") || to.Host == "" {
		return nil, invalid("has a token_uri that is no URL")
	}
	account := &serviceAccount{email: file.ClientEmail, keyID: file.PrivateKeyID, audience: file.TokenURI, key: key}
	return wire.NewTokens(wire.TokenOptions{
		Op: "vertex ai: access token", URL: to, Grant: account.grant, Secret: secret, Client: client,
		Mend: "check the service account's key under private_key (wrong, revoked, of a deleted account?) and this machine's clock",
	}), nil
}

// readKey takes PKCS #8, as Google writes it, or the older PKCS #1; nil where it is neither.
func readKey(text string) *rsa.PrivateKey {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		key, _ := parsed.(*rsa.PrivateKey) // nil where it is of another kind
		return key
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil
	}
	return key
}

// grant is a signed assertion (RFC 7523 §2.1).
func (a *serviceAccount) grant(now time.Time) (url.Values, error) {
	assertion, err := a.assertion(now)
	if err != nil {
		return nil, fmt.Errorf("sign the assertion: %w", err)
	}
	return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}, nil
}

// assertion is a JWT signed with RS256 (RFC 7515, RFC 7519).
func (a *serviceAccount) assertion(now time.Time) (string, error) {
	issued := now.Add(-clockSkew)
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": a.keyID})
	if err != nil {
		return "", err //nolint:wrapcheck // strings cannot fail
	}
	claims, err := json.Marshal(map[string]any{
		"iss": a.email, "scope": cloudScope, "aud": a.audience,
		"iat": issued.Unix(), "exp": issued.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", err //nolint:wrapcheck // nor can numbers
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, digest[:])
	if err != nil {
		return "", err //nolint:wrapcheck // the caller says what was signed
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
