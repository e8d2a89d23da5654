package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
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

// TokenOptions say how access tokens are got.
type TokenOptions struct {
	Op string // what errors begin with
	// Source has a library ask, over client. It blocks no longer than ctx. Where it fails, the error is of what came back
	// to client; before anything was sent it is the source's own: a *schemas.Error, or Fatal with its first line.
	Source func(ctx context.Context, client *http.Client) (*Granted, error)
	Secret schemas.Secret // what is asked with; removed from whatever the server says
	Mend   string         // what to do where the server refuses it
	Client *Client
}

// Granted is an access token.
type Granted struct {
	Token  string
	Ends   time.Time
	Header http.Header // what goes with it into every call; nil: nothing
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
	header      http.Header
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
	maps.Copy(call.Header, token.header)
	call.Key = token.secret
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
	ctx, cancel := context.WithTimeoutCause(ctx, tokenTimeout, fmt.Errorf("no access token within %s", tokenTimeout))
	defer cancel()
	granted, err := t.ask(ctx)
	if err != nil {
		return nil, t.failed(ctx, err)
	}
	life := min(granted.Ends.Sub(now), tokenLife)
	if !isToken(granted.Token) || life <= 0 {
		return nil, t.malformed()
	}
	token := &accessToken{
		header: http.Header{"Authorization": {"Bearer " + granted.Token}}, secret: schemas.NewSecret(granted.Token),
		renew: now.Add(life - min(renewBefore, life/4)), ends: now.Add(life - min(tokenSkew, life/8)),
	}
	maps.Copy(token.header, granted.Header)
	return token, nil
}

// ask has the source's library ask. Of an exchange that failed a library often keeps no more than text, so its client watches.
func (t *Tokens) ask(ctx context.Context) (*Granted, error) {
	var last atomic.Pointer[exchanged] // the library may still be at it when the source has given up
	client := &http.Client{
		Transport: roundTripper(func(request *http.Request) (*http.Response, error) {
			response, failure, err := t.watch(request.WithContext(ctx)) // for libraries send some without
			last.Store(&exchanged{failure: failure})
			return response, err
		}),
		// The credentials are for this server and no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	granted, err := t.options.Source(ctx, client)
	if err == nil {
		return granted, nil
	}
	switch seen := last.Load(); {
	case seen == nil: // it asked nobody
		return nil, err
	case seen.failure != nil:
		return nil, seen.failure
	}
	return nil, t.malformed() // what it could not read stays unsaid
}

// exchanged is what came of a library's request; failure is nil for a 2xx.
type exchanged struct{ failure error }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// watch sends a library's request. The failure says what happened, err is the transport's own.
func (t *Tokens) watch(request *http.Request) (response *http.Response, failure, err error) {
	ctx := request.Context()
	call := &Call{Op: t.options.Op, URL: request.URL, Key: t.options.Secret}
	var sent atomic.Bool // the trace runs on the connection's goroutine
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	response, err = t.options.Client.RoundTrip(request.WithContext(traced))
	if err != nil {
		return nil, call.unanswered(ctx, err, sent.Load()), err //nolint:wrapcheck // the library wraps it
	}
	if response.StatusCode >= 200 && response.StatusCode <= 299 {
		return response, nil, nil
	}
	text, _ := t.options.Client.readBody(ctx, response, errorBodyLimit) // however much: the status alone decides
	_ = response.Body.Close()                                           // nothing is left to learn
	response.Body = http.NoBody                                         // what the library would make of it is not shown
	return response, call.refused(response.StatusCode, response.Header, tokenProblem(response.Header, text)), nil
}

func (t *Tokens) malformed() error {
	return &schemas.Error{
		Op: t.options.Op, Class: schemas.Transient, Code: "malformed_response", HTTPStatus: http.StatusOK,
		Err: errors.New("the answer is no access token"),
	}
}

// isToken accepts what may stand in a header (RFC 6750 §2.1 has less).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// failed is a failure of the token's server, which no row is to blame for and which costs nothing, or what kept us from
// asking it.
func (t *Tokens) failed(ctx context.Context, err error) error {
	failure, ok := errors.AsType[*schemas.Error](err)
	switch {
	case ok:
	case ctx.Err() != nil:
		code, why := contextFailure(ctx)
		return &schemas.Error{Op: t.options.Op, Class: schemas.Transient, Code: code, Err: why}
	default:
		said, _, _ := strings.Cut(err.Error(), "\n") // what follows is somebody's answer
		return &schemas.Error{
			Op: t.options.Op, Class: schemas.Fatal, Code: "invalid_credentials", Mend: t.options.Mend,
			Err: errors.New(cleanMessage(said, t.options.Secret.Reveal())),
		}
	}
	switch failure.Class {
	case schemas.Ambiguous: // a second token does no harm
		failure.Class = schemas.Transient
	case schemas.Rejected: // RFC 6749 §5.2 has 400 for a bad key as for everything else
		failure.Class = schemas.Fatal
	case schemas.Fatal, schemas.Transient, schemas.Throttled:
	}
	switch failure.HTTPStatus {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		failure.Mend = t.options.Mend
	}
	return failure
}

// tokenProblem reads {"error": "invalid_grant"} (RFC 6749 §5.2), the numbers that Microsoft puts beside it, and the
// status in the error object of Google's other services. The description stays out: it may quote what was sent.
func tokenProblem(_ http.Header, body []byte) Problem {
	var said struct {
		Error string  `json:"error"`
		Codes []int64 `json:"error_codes"`
	}
	if json.Unmarshal(body, &said) != nil {
		problem := ParseProblem(body)
		return Problem{Words: problem.Words}
	}
	if !isWord(said.Error) {
		return Problem{}
	}
	problem := Problem{Words: []string{said.Error}, Message: said.Error}
	if len(said.Codes) > 0 {
		problem.Message += fmt.Sprintf(" (AADSTS%d)", said.Codes[0])
	}
	return problem
}
