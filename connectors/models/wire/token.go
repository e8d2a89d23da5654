package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

const (
	tokenTimeout = 30 * time.Second
	renewBefore  = 5 * time.Minute  // as the providers' own libraries do
	tokenSkew    = 10 * time.Second // by which clocks may differ
	tokenLife    = 24 * time.Hour   // the longest that is believed
)

// TokenOptions say how access tokens are got (RFC 6749 §4.4, RFC 7523).
type TokenOptions struct {
	Op  string // what errors begin with
	URL *url.URL
	// Grant is the form that asks for a token.
	Grant  func(now time.Time) (url.Values, error)
	Secret schemas.Secret // what is in the form; removed from whatever the server says
	Mend   string         // what to do where the server refuses it
	Client *Client
}

// Tokens authorizes calls with access tokens. A token serves all calls until shortly before its end; one call at a time
// renews it, and the others go on with the old one while it holds.
type Tokens struct {
	options  TokenOptions
	now      func() time.Time
	current  atomic.Pointer[accessToken]
	renewing chan struct{} // of capacity one: whoever renews holds it
}

type accessToken struct {
	header      []string
	secret      schemas.Secret
	renew, ends time.Time
}

// NewTokens returns a source of tokens. It asks for none yet.
func NewTokens(options TokenOptions) *Tokens {
	return &Tokens{options: options, now: time.Now, renewing: make(chan struct{}, 1)}
}

// Authorize puts a token into a call. It blocks while there is none that holds. Failures are *schemas.Error.
func (t *Tokens) Authorize(ctx context.Context, call *Call) error {
	token, err := t.token(ctx)
	if err != nil {
		return err
	}
	call.Header["Authorization"], call.Key = token.header, token.secret
	return nil
}

func (t *Tokens) token(ctx context.Context) (*accessToken, error) {
	if token := t.fresh(); token != nil {
		return token, nil
	}
	if token := t.holding(); token != nil {
		select {
		case t.renewing <- struct{}{}:
		default: // somebody is at it
			return token, nil
		}
	} else {
		select {
		case t.renewing <- struct{}{}:
		case <-ctx.Done():
			code, why := contextFailure(ctx)
			return nil, &schemas.Error{Op: t.options.Op, Class: schemas.Transient, Code: code, Err: why}
		}
	}
	defer func() { <-t.renewing }()
	if token := t.fresh(); token != nil {
		return token, nil // renewed while we waited
	}
	token, err := t.exchange(ctx)
	if err == nil {
		t.current.Store(token)
		return token, nil
	}
	if old := t.holding(); old != nil && schemas.ClassOf(err) != schemas.Fatal {
		return old, nil
	}
	return nil, err
}

// fresh is the current token, nil where it is time to renew it; holding, where it has ended.
func (t *Tokens) fresh() *accessToken {
	if token := t.current.Load(); token != nil && t.now().Before(token.renew) {
		return token
	}
	return nil
}

func (t *Tokens) holding() *accessToken {
	if token := t.current.Load(); token != nil && t.now().Before(token.ends) {
		return token
	}
	return nil
}

// exchange asks for a token.
func (t *Tokens) exchange(ctx context.Context) (*accessToken, error) {
	now := t.now().Round(0) // without the monotonic reading, which stands still while a machine sleeps
	form, err := t.options.Grant(now)
	if err != nil {
		return nil, &schemas.Error{Op: t.options.Op, Class: schemas.Fatal, Code: "invalid_key", Mend: t.options.Mend, Err: err}
	}
	call := &Call{
		Op: t.options.Op, URL: t.options.URL, Key: t.options.Secret, Problem: tokenProblem, Body: []byte(form.Encode()),
		Header: http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "User-Agent": {"inflow"},
		},
	}
	ctx, cancel := context.WithTimeoutCause(ctx, tokenTimeout, fmt.Errorf("no access token within %s", tokenTimeout))
	defer cancel()
	answer, err := Post(ctx, t.options.Client, call)
	if err != nil {
		return nil, t.failed(err)
	}
	var granted struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if json.Unmarshal(answer.Body, &granted) != nil || !isToken(granted.AccessToken) || granted.ExpiresIn <= 0 {
		return nil, call.Malformed(&answer, errors.New("the answer is no access token"))
	}
	life := time.Duration(min(granted.ExpiresIn, tokenLife.Seconds()) * float64(time.Second))
	return &accessToken{
		header: []string{"Bearer " + granted.AccessToken}, secret: schemas.NewSecret(granted.AccessToken),
		renew: now.Add(life - min(renewBefore, life/4)), ends: now.Add(life - min(tokenSkew, life/8)),
	}, nil
}

// isToken accepts what may stand in a header (RFC 6750 §2.1 has less).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// failed is a failure of the token's server, which no row is to blame for and which costs nothing.
func (t *Tokens) failed(err error) error {
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
	if failure.HTTPStatus == http.StatusBadRequest || failure.HTTPStatus == http.StatusUnauthorized {
		failure.Mend = t.options.Mend
	}
	return failure
}

// tokenProblem reads {"error": "invalid_grant"} (RFC 6749 §5.2), and the numbers that Microsoft puts beside it. The
// description stays out: it may quote what was sent.
func tokenProblem(_ http.Header, body []byte) Problem {
	var said struct {
		Error string  `json:"error"`
		Codes []int64 `json:"error_codes"`
	}
	if json.Unmarshal(body, &said) != nil || !isWord(said.Error) {
		return Problem{}
	}
	problem := Problem{Words: []string{said.Error}, Message: said.Error}
	if len(said.Codes) > 0 {
		problem.Message += fmt.Sprintf(" (AADSTS%d)", said.Codes[0])
	}
	return problem
}
