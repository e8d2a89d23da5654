package gemini

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	grantOp      = "vertex ai: access token"
	cloudScope   = "https://www.googleapis.com/auth/cloud-platform"
	grantURL     = "https://oauth2.googleapis.com/token"
	grantTimeout = 30 * time.Second

	assertionLife = time.Hour        // the longest that Google takes
	clockSkew     = 10 * time.Second // by which our clock may be ahead of Google's
	renewBefore   = 5 * time.Minute
	lifeLimit     = 12 * time.Hour // Google's own limit for the life of a token
)

// serviceAccount gets access tokens with a service account's key (developers.google.com/identity/protocols/oauth2/
// service-account, "Using OAuth 2.0 for server to server applications", HTTP/REST). A token serves all calls until
// shortly before its end; one call at a time renews it, and the others go on with the old one while it holds.
type serviceAccount struct {
	email, keyID, audience string
	key                    *rsa.PrivateKey
	url                    *url.URL
	secret                 schemas.Secret
	client                 *wire.Client
	now                    func() time.Time

	current  atomic.Pointer[accessToken]
	renewing chan struct{} // of capacity one: whoever renews holds it
}

type accessToken struct {
	header      []string
	secret      schemas.Secret
	renew, ends time.Time
}

// readServiceAccount reads a key file. Its errors show nothing of it.
func readServiceAccount(secret schemas.Secret, client *wire.Client) (*serviceAccount, error) {
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
	return &serviceAccount{
		email: file.ClientEmail, keyID: file.PrivateKeyID, audience: file.TokenURI, key: key, url: to, secret: secret,
		client: client, now: time.Now, renewing: make(chan struct{}, 1),
	}, nil
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

// authorize puts a token into a call. It blocks while there is none that holds.
func (a *serviceAccount) authorize(ctx context.Context, call *wire.Call) error {
	token, err := a.token(ctx)
	if err != nil {
		return err
	}
	call.Header["Authorization"], call.Key = token.header, token.secret
	return nil
}

func (a *serviceAccount) token(ctx context.Context) (*accessToken, error) {
	if token := a.current.Load(); token != nil && a.now().Before(token.renew) {
		return token, nil
	}
	if token := a.holding(); token != nil {
		select {
		case a.renewing <- struct{}{}:
		default: // somebody is at it
			return token, nil
		}
	} else {
		select {
		case a.renewing <- struct{}{}:
		case <-ctx.Done():
			return nil, givenUp(ctx)
		}
	}
	defer func() { <-a.renewing }()
	if token := a.current.Load(); token != nil && a.now().Before(token.renew) {
		return token, nil // renewed while we waited
	}
	token, err := a.exchange(ctx)
	if err == nil {
		a.current.Store(token)
		return token, nil
	}
	if old := a.holding(); old != nil && schemas.ClassOf(err) != schemas.Fatal {
		return old, nil
	}
	return nil, err
}

// givenUp is the failure of a wait for a token that another call is getting.
func givenUp(ctx context.Context) error {
	failure := &schemas.Error{Op: grantOp, Class: schemas.Transient, Code: "timeout", Err: context.Cause(ctx)}
	if errors.Is(ctx.Err(), context.Canceled) {
		failure.Code, failure.Err = "canceled", fmt.Errorf("given up: %w", ctx.Err())
	}
	return failure
}

// holding is the current token, nil where it has ended.
func (a *serviceAccount) holding() *accessToken {
	token := a.current.Load()
	if token == nil || !a.now().Before(token.ends) {
		return nil
	}
	return token
}

// exchange asks for a token with a signed assertion (RFC 7523 §2.1).
func (a *serviceAccount) exchange(ctx context.Context) (*accessToken, error) {
	// Without the monotonic reading, which stands still while a machine sleeps.
	now := a.now().Round(0)
	assertion, err := a.assertion(now)
	if err != nil {
		return nil, &schemas.Error{
			Op: grantOp, Class: schemas.Fatal, Code: "invalid_key", Mend: mendKey, Err: fmt.Errorf("sign the assertion: %w", err),
		}
	}
	call := &wire.Call{
		Op: grantOp, URL: a.url, Key: a.secret, KeyField: "private_key", Problem: readOAuthProblem,
		Header: http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "User-Agent": {"inflow"},
		},
		Body: []byte(url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion},
		}.Encode()),
	}
	ctx, cancel := context.WithTimeoutCause(ctx, grantTimeout, fmt.Errorf("no access token within %s", grantTimeout))
	defer cancel()
	answer, err := wire.Post(ctx, a.client, call)
	if err != nil {
		return nil, tokenFailure(err)
	}
	var granted struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if json.Unmarshal(answer.Body, &granted) != nil || !isToken(granted.AccessToken) || granted.ExpiresIn <= 0 {
		return nil, call.Malformed(&answer, errors.New("the answer is no access token")) //nolint:wrapcheck // it is whole
	}
	life := min(time.Duration(min(granted.ExpiresIn, lifeLimit.Seconds())*float64(time.Second)), lifeLimit)
	return &accessToken{
		header: []string{"Bearer " + granted.AccessToken}, secret: schemas.NewSecret(granted.AccessToken),
		renew: now.Add(life - min(renewBefore, life/4)), ends: now.Add(life - min(clockSkew, life/8)),
	}, nil
}

// isToken accepts what may stand in a header (RFC 6750 §2.1 has less).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

const mendKey = "check the service account's key under private_key (wrong, revoked, of a deleted account?) and this machine's clock"

// tokenFailure is a failure of the token's server, which no row is to blame for and which costs nothing.
func tokenFailure(err error) error {
	failure, ok := errors.AsType[*schemas.Error](err)
	if !ok {
		return err
	}
	switch failure.Class {
	case schemas.Ambiguous: // a second token does no harm
		failure.Class = schemas.Transient
	case schemas.Rejected: // RFC 6749 §5.2 has 400 for a bad key as for everything else
		failure.Class = schemas.Fatal
	case schemas.Fatal, schemas.Transient, schemas.Throttled:
	}
	if failure.Class == schemas.Fatal && failure.HTTPStatus != 0 {
		failure.Mend = mendKey
	}
	return failure
}

// readOAuthProblem reads {"error": "invalid_grant", "error_description": "…"} (RFC 6749 §5.2).
func readOAuthProblem(_ http.Header, body []byte) wire.Problem {
	var problem struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &problem) != nil || strings.ContainsFunc(problem.Error, func(r rune) bool {
		return (r < 'a' || r > 'z') && r != '_'
	}) || problem.Error == "" {
		return readProblem(body)
	}
	return wire.Problem{Words: []string{problem.Error[:min(len(problem.Error), reasonLimit)]}, Message: problem.Description}
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
