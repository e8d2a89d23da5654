package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	// entraScope is Azure's services for models.
	entraScope = "https://cognitiveservices.azure.com/.default"
	// entraEarly is how long before its end a token is renewed, as Microsoft's own libraries do.
	entraEarly   = 5 * time.Minute
	entraTimeout = 30 * time.Second
	entraLimit   = 64 << 10 // bytes of an answer; a token has about 2 KiB
	entraOp      = "openai: Microsoft Entra token"
)

// entra gets tokens by the client credentials grant (learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
type entra struct {
	url     *url.URL
	form    string
	client  *wire.Client
	now     func() time.Time
	current atomic.Pointer[entraToken]
	renewal chan struct{} // holds one: whoever renews has taken it
}

type entraToken struct {
	header  []string
	key     schemas.Secret
	expires time.Time
}

func (o *Options) entraHost() string {
	if o.EntraHost == "" {
		return "https://login.microsoftonline.com"
	}
	return o.EntraHost
}

func newEntra(o *Options) *entra {
	host, _ := wire.BaseURL(o.entraHost(), "", DefaultBaseURL, "openai_api_key") // Check says it
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {entraScope},
		"client_id": {o.EntraClientID}, "client_secret": {o.EntraClientSecret.Reveal()},
	}
	e := &entra{
		url: host.JoinPath(url.PathEscape(o.EntraTenantID), "oauth2/v2.0/token"), form: form.Encode(),
		client: o.Client, now: time.Now, renewal: make(chan struct{}, 1),
	}
	e.renewal <- struct{}{}
	return e
}

// authorize puts a token into the call. It blocks only while there is none that still holds: one call renews it a little
// early, and the others go on with the old one.
func (e *entra) authorize(ctx context.Context, call *wire.Call) error {
	token := e.current.Load()
	now := e.now()
	switch {
	case token != nil && now.Before(token.expires.Add(-entraEarly)):
	case token != nil && now.Before(token.expires):
		select {
		case <-e.renewal:
			if renewed, err := e.renew(ctx); err == nil {
				token = renewed
			} // else the old one still holds, and the next call tries again
		default:
		}
	default:
		select {
		case <-e.renewal:
		case <-ctx.Done():
			return e.failed(schemas.Transient, "canceled", context.Cause(ctx))
		}
		var err error
		if token, err = e.renew(ctx); err != nil {
			return err
		}
	}
	call.Header["Authorization"], call.Key = token.header, token.key
	return nil
}

// renew is called with the renewal taken, and gives it back.
func (e *entra) renew(ctx context.Context) (*entraToken, error) {
	defer func() { e.renewal <- struct{}{} }()
	if token := e.current.Load(); token != nil && e.now().Before(token.expires.Add(-entraEarly)) {
		return token, nil // somebody else was first
	}
	ctx, cancel := context.WithTimeout(ctx, entraTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), strings.NewReader(e.form))
	if err != nil {
		return nil, e.failed(schemas.Fatal, "invalid_request", errors.New("the token's URL cannot be used"))
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "inflow")
	asked := e.now()
	response, err := e.client.RoundTrip(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, e.failed(schemas.Transient, "timeout", context.Cause(ctx))
		}
		// Nothing has gone to the model: asking again costs nothing. Not wrapped: net/http quotes what it reads.
		return nil, e.failed(schemas.Transient, "no_token", fmt.Errorf("%s did not answer", e.url.Host))
	}
	defer response.Body.Close() //nolint:errcheck // the bytes are read or given up
	body, err := io.ReadAll(io.LimitReader(response.Body, entraLimit))
	if response.StatusCode != http.StatusOK {
		return nil, e.refused(response, body)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err != nil || json.Unmarshal(body, &answer) != nil || answer.AccessToken == "" || answer.ExpiresIn <= 0 {
		return nil, e.failed(schemas.Transient, "malformed_response", errors.New("the answer holds no token"))
	}
	const longest = 24 * 60 * 60 // what Microsoft gives at most; more would overflow sooner than be true
	token := &entraToken{
		header: []string{"Bearer " + answer.AccessToken}, key: schemas.NewSecret(answer.AccessToken),
		expires: asked.Add(time.Duration(min(answer.ExpiresIn, longest)) * time.Second),
	}
	e.current.Store(token)
	return token, nil
}

// refused classifies an answer other than 200 by its status; its words are OAuth's (RFC 6749 §5.2) and Microsoft's number.
func (e *entra) refused(response *http.Response, body []byte) error {
	var answer struct {
		Error string  `json:"error"`
		Codes []int64 `json:"error_codes"`
	}
	_ = json.Unmarshal(body, &answer) // a page: the status says it all
	class, code := wire.ClassOfStatus(response.StatusCode)
	text := fmt.Sprintf("HTTP %d", response.StatusCode)
	if wordLike(answer.Error) && answer.Error != "" {
		code, text = answer.Error, text+" "+answer.Error
	}
	if len(answer.Codes) > 0 {
		text += fmt.Sprintf(" (AADSTS%d)", answer.Codes[0])
	}
	failure := &schemas.Error{Op: entraOp, Class: class, Code: code, HTTPStatus: response.StatusCode, Err: errors.New(text)}
	switch response.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized: // no row gets a token from these settings
		failure.Class = schemas.Fatal
		failure.Mend = "check microsoft_entra_tenant_id, microsoft_entra_client_id and microsoft_entra_client_secret: one of them is wrong or has expired"
	case http.StatusTooManyRequests:
		if seconds, err := strconv.ParseInt(response.Header.Get("Retry-After"), 10, 32); err == nil && seconds > 0 {
			failure.RetryAfter = time.Duration(seconds) * time.Second
		}
	}
	if failure.Class == schemas.Rejected { // it is not the row that is refused
		failure.Class = schemas.Fatal
	}
	return failure
}

func (*entra) failed(class schemas.Class, code string, why error) error {
	return &schemas.Error{Op: entraOp, Class: class, Code: code, Err: why}
}
