package databricks

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/databricks/databricks-sdk-go/config"
	"github.com/databricks/databricks-sdk-go/logger"
	"github.com/tidwall/gjson"
	"golang.org/x/oauth2"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	loginOp = "databricks: login"
	// loginLife is how long credentials that name no end are used before they are looked up anew.
	loginLife = 10 * time.Minute
	// loginBodyLimit bounds what is read of an answer: a token, or a document that says where tokens are.
	loginBodyLimit = 1 << 20
	// loginField stands for the key in what a refused call says.
	loginField = keyField + ", or this machine's Databricks login"

	methodPAT, methodBasic, methodM2M = "pat", "basic", "oauth-m2m"
)

// login finds whoever this machine is logged in as at a workspace, as all of Databricks' tools do
// (docs.databricks.com/dev-tools/auth/unified-auth): from the environment, a profile, the CLI, or the cloud.
//
// The SDK's configuration object only ever signs a request that is never sent; models are asked over the job's client.
// It is made anew for every renewal, so that who logs in anew is heard, and it keeps no goroutine of its own.
type login struct {
	workspace *url.URL
	client    *wire.Client
	tokens    *wire.Tokens
}

// newLogin reads and asks nothing: the first call does.
func newLogin(workspace *url.URL, client *wire.Client) *login {
	l := &login{workspace: workspace, client: client}
	l.tokens = wire.NewTokens(wire.TokenOptions{Op: loginOp, Source: l.ask, Mend: l.mend(), Client: client})
	return l
}

// authorize blocks while there are no credentials that hold, and no longer than ctx. Failures are *schemas.Error.
func (l *login) authorize(ctx context.Context, call *wire.Call) error {
	call.KeyField = loginField
	return l.tokens.Authorize(ctx, call) //nolint:wrapcheck // it is classified
}

func (l *login) origin() string { return l.workspace.Scheme + "://" + l.workspace.Host }

func (l *login) mend() string {
	return fmt.Sprintf("set %s, or log in: `databricks auth login --host %s`, or set DATABRICKS_CLIENT_ID and "+
		"DATABRICKS_CLIENT_SECRET, or name a profile: DATABRICKS_CONFIG_PROFILE", keyField, l.origin())
}

// refuse is a failure that only whoever set this machine up can mend. What the SDK said of it is not shown: it quotes
// settings, files and whatever commands printed.
func (l *login) refuse(code, format string, values ...any) *schemas.Error {
	return &schemas.Error{Op: loginOp, Class: schemas.Fatal, Code: code, Mend: l.mend(), Err: fmt.Errorf(format, values...)}
}

// ask has the SDK sign a request. It does so with a context of its own: its requests are bound to ctx all the same, but
// the commands that it runs (databricks, az) are not. They end by themselves, and then nobody may be there to hear.
func (l *login) ask(ctx context.Context, client *http.Client) (*wire.Granted, error) {
	type result struct {
		granted *wire.Granted
		err     error
	}
	done := make(chan result, 1)
	go func() {
		granted, err := l.sign(ctx, &gate{login: l, exchange: client.Transport})
		done <- result{granted, err}
	}()
	select {
	case got := <-done:
		if got.err == nil || ctx.Err() == nil {
			return got.granted, got.err
		}
	case <-ctx.Done():
	}
	return nil, ctx.Err() //nolint:wrapcheck // whoever set the deadline says what it means
}

func (l *login) sign(ctx context.Context, gate *gate) (*wire.Granted, error) {
	silence()
	cfg := &config.Config{
		Loaders: []config.Loader{config.ConfigAttributes, &profile{login: l}},
		HTTPTransport: through(func(request *http.Request) (*http.Response, error) {
			return gate.pass(request.WithContext(ctx)) // the SDK's own never ends
		}),
		RetryTimeoutSeconds:      1,    // should it take one of the gate's failures for one to retry
		DisableAsyncTokenRefresh: true, // it would go on behind our back
	}
	cfg.HostMetadataResolver = func(ctx context.Context, host string) (*config.HostMetadata, error) {
		if method := methodOf(cfg); method == methodPAT || method == methodBasic {
			return &config.HostMetadata{}, nil // there is nothing to find out
		}
		return cfg.DefaultHostMetadataResolver()(ctx, host)
	}
	if err := cfg.EnsureResolved(); err != nil {
		return nil, l.explain(gate, err)
	}
	if failure := gate.taken(); failure != nil && failure.HTTPStatus == 0 {
		return nil, failure // the host is down: what comes next would only wait again
	}
	// Where credentials are plainly given, no others may stand in for them: the SDK would go on with whoever else is
	// logged in when they are refused.
	cfg.AuthType = methodOf(cfg)
	request := &http.Request{Method: http.MethodPost, URL: l.workspace, Header: make(http.Header)}
	if err := cfg.Authenticate(request.WithContext(ctx)); err != nil {
		return nil, l.explain(gate, err)
	}
	_, token, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	granted := &wire.Granted{Token: token, Ends: time.Now().Add(loginLife), Header: request.Header}
	if current, err := cfg.GetTokenSource().Token(ctx); err == nil && !current.Expiry.IsZero() {
		granted.Ends = current.Expiry
	}
	return granted, nil
}

// methodOf is how the configuration says to authenticate, where it says so; the order is the SDK's.
func methodOf(cfg *config.Config) string {
	switch {
	case cfg.AuthType != "":
		return cfg.AuthType
	case cfg.Token != "":
		return methodPAT
	case cfg.Username != "" && cfg.Password != "":
		return methodBasic
	case cfg.ClientID != "" && cfg.ClientSecret != "":
		return methodM2M
	}
	return ""
}

// explain classifies a failure of the SDK. Where a token was asked for, what came back goes before it.
func (l *login) explain(gate *gate, err error) error {
	if failure, ok := errors.AsType[*schemas.Error](err); ok {
		return failure // our own loader's
	}
	failure, nobody := gate.taken(), errors.Is(err, config.ErrCannotConfigureDefault)
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && failure == nil && refused.Response != nil {
		failure = l.answered(refused.Response.StatusCode, refused.Response.Header, refused.Body)
	}
	switch {
	case failure != nil && (!nobody || failure.Class != schemas.Fatal):
		return failure
	case nobody:
		return l.refuse("no_credentials", "there are no credentials for %s", l.workspace.Host)
	}
	if network, ok := errors.AsType[net.Error](err); ok { // a cloud's, whose library has a client of its own
		return l.unanswered("the credentials' server", network)
	}
	return l.refuse("invalid_credentials", "the credentials that are set for %s gave no token", l.workspace.Host)
}

// answered is the failure of a status that is no 2xx.
func (l *login) answered(status int, header http.Header, body []byte) *schemas.Error {
	problem := wire.Problem{Status: status}
	if word := gjson.GetBytes(body, "error").Str; gjson.ValidBytes(body) && oauthCode().MatchString(word) {
		problem.Words = []string{word}
	}
	if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil && seconds > 0 {
		problem.RetryAfter = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	call := wire.Call{Op: loginOp}
	failure, _ := errors.AsType[*schemas.Error](call.Refused(&wire.Answer{Status: status}, problem))
	if failure.Class == schemas.Rejected { // no row is to blame
		failure.Class = schemas.Fatal
	}
	if failure.Class == schemas.Fatal && status >= http.StatusBadRequest {
		failure.Mend = l.mend()
	}
	return failure
}

// oauthCode matches the codes of RFC 6749 §5.2, and nothing that could be a secret.
func oauthCode() *regexp.Regexp { return regexp.MustCompile(`^[a-z]+(_[a-z]+){0,4}$`) }

// unanswered is the failure of a request to which no answer came.
func (l *login) unanswered(host string, err error) *schemas.Error {
	failure := &schemas.Error{Op: loginOp, Class: schemas.Transient, Code: "connect_failed", Err: fmt.Errorf("%s does not answer", host)}
	switch network, ok := errors.AsType[net.Error](err); {
	case isUntrusted(err): // trust does not come back by itself
		failure.Class, failure.Code = schemas.Fatal, "certificate_not_trusted"
		failure.Err = fmt.Errorf("the certificate of %s is not trusted", host)
		failure.Mend = "check databricks_workspace_url, or add its authority to this machine's certificates"
	case isPlainHTTP(err): // https:// to a server that speaks http
		failure.Class, failure.Code = schemas.Fatal, "scheme_mismatch"
		failure.Err = fmt.Errorf("%s does not speak TLS", host)
		failure.Mend = "write http:// in databricks_workspace_url"
	case isUnknown(err):
		failure.Code, failure.Err = "host_not_found", fmt.Errorf("the name of %s does not resolve", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		failure.Code, failure.Err = "connection_refused", fmt.Errorf("nothing listens at %s", host)
	case ok && network.Timeout():
		failure.Code, failure.Err = "connect_timeout", fmt.Errorf("%s does not answer in time", host)
	}
	return failure
}

func isUntrusted(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

func isPlainHTTP(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok || errors.Is(err, http.ErrSchemeMismatch)
}

func isUnknown(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

// silence keeps what the SDK logs, settings among it, off the terminal. The SDK logs to a global.
//
//nolint:gochecknoglobals // it must happen once, before the first use, or race with it
var silence = sync.OnceFunc(func() { logger.DefaultLogger = quiet{} })

// quiet is a logger of the SDK's that says nothing.
type quiet struct{}

func (quiet) Enabled(context.Context, logger.Level) bool { return false }
func (quiet) Tracef(context.Context, string, ...any)     {}
func (quiet) Debugf(context.Context, string, ...any)     {}
func (quiet) Infof(context.Context, string, ...any)      {}
func (quiet) Warnf(context.Context, string, ...any)      {}
func (quiet) Errorf(context.Context, string, ...any)     {}

// errShut is all that the SDK hears of a request that failed: it repeats none such, and can quote nothing.
var errShut = errors.New("the request failed")

type through func(*http.Request) (*http.Response, error)

// RoundTrip is http.RoundTripper's.
func (t through) RoundTrip(request *http.Request) (*http.Response, error) { return t(request) }

// gate lets the SDK's requests through, each of them once, and keeps what came of the last that failed. Tokens are asked
// for over exchange, which classifies by itself.
type gate struct {
	login    *login
	exchange http.RoundTripper

	mutex   sync.Mutex
	failure *schemas.Error
}

// taken returns what came of the last request that failed, and forgets it.
func (g *gate) taken() *schemas.Error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	failure := g.failure
	g.failure = nil
	return failure
}

func (g *gate) keep(failure *schemas.Error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.failure = failure
}

// pass sends a request of the SDK's. Only a 2xx, read to its end, is an answer.
func (g *gate) pass(request *http.Request) (*http.Response, error) {
	way := http.RoundTripper(g.login.client)
	if request.Method == http.MethodPost {
		way = g.exchange
	}
	response, err := way.RoundTrip(request)
	if err != nil {
		g.keep(g.login.unanswered(request.URL.Host, err))
		return nil, errShut
	}
	defer response.Body.Close() //nolint:errcheck // read or given up; nothing is left to learn
	body, err := io.ReadAll(io.LimitReader(response.Body, loginBodyLimit+1))
	switch {
	case response.StatusCode < 200 || response.StatusCode > 299:
		g.keep(g.login.answered(response.StatusCode, response.Header, body))
		return nil, errShut
	case err != nil || len(body) > loginBodyLimit:
		g.keep(g.login.unanswered(request.URL.Host, err))
		return nil, errShut
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// profile finishes a configuration that holds the environment. The SDK's own loader reads no profile where the host is
// given, and where a profile is named it takes its secrets whatever host they are for. This one takes the profile that is
// named, else the one of the workspace, and refuses what belongs to another workspace before anything is sent.
type profile struct{ login *login }

// Name is the SDK's.
func (*profile) Name() string { return "profile" }

// Configure is the SDK's.
func (p *profile) Configure(cfg *config.Config) error {
	if cfg.Host != "" && !p.login.isAt(cfg.Host) {
		if hasCredentials(cfg) {
			return p.login.stranger("the environment's credentials are for the workspace of DATABRICKS_HOST",
				"unset DATABRICKS_HOST if they are this workspace's too")
		}
		// A mere default for other tools, with what goes with it.
		cfg.AccountID, cfg.WorkspaceID, cfg.DiscoveryURL, cfg.TokenAudience = "", "", "", ""
	}
	if cfg.Profile != "" || !hasCredentials(cfg) {
		if err := p.load(cfg); err != nil {
			return err
		}
	}
	cfg.Host = p.login.origin()
	if err := config.ConfigAttributes.Validate(cfg); err != nil { // it names the methods, and no more
		failure := p.login.refuse("invalid_credentials", "%w", err)
		failure.Mend = "keep one of them, or choose with DATABRICKS_AUTH_TYPE, or " + failure.Mend
		return failure
	}
	return nil
}

func (p *profile) load(cfg *config.Config) error {
	file, err := config.LoadFile(cfg.ConfigFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if cfg.Profile != "" {
			return p.login.refuse("invalid_credentials", "DATABRICKS_CONFIG_PROFILE names a profile, and there is no file of profiles")
		}
		return nil
	case err != nil: // it quotes the line
		return p.login.refuse("invalid_credentials", "the file of Databricks profiles cannot be read")
	}
	name := cfg.Profile
	if name == "" {
		if name, err = p.find(file); name == "" {
			return err
		}
	}
	keys := file.Section(name).KeysHash()
	if name == settings || len(keys) == 0 {
		return p.login.refuse("invalid_credentials", "there is no Databricks profile %q", name)
	}
	if host := keys["host"]; host != "" && !p.login.isAt(host) {
		return p.login.stranger(fmt.Sprintf("the profile %q is of another workspace", name), "name another with DATABRICKS_CONFIG_PROFILE")
	}
	source := config.Source{Type: config.SourceFile, Name: file.Path()}
	if config.ConfigAttributes.ResolveFromStringMapWithSource(cfg, keys, source) != nil { // it quotes the value
		return p.login.refuse("invalid_credentials", "the Databricks profile %q has a value of the wrong kind", name)
	}
	cfg.Profile = name
	return nil
}

const settings = "__settings__" // a section that is no profile

// find returns the name of the workspace's profile; the default one goes first, and of several others none is taken.
func (p *profile) find(file *config.File) (string, error) {
	standard := file.Section(settings).Key("default_profile").String()
	if standard == "" {
		standard = "DEFAULT"
	}
	var found []string
	for _, section := range file.Sections() {
		host := section.Key("host").String()
		if host == "" || !p.login.isAt(host) {
			continue
		}
		if section.Name() == standard {
			return standard, nil
		}
		found = append(found, section.Name())
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	failure := p.login.refuse("invalid_credentials", "several Databricks profiles are of %s: %s", p.login.workspace.Host, strings.Join(found, ", "))
	failure.Mend = "choose one with DATABRICKS_CONFIG_PROFILE"
	return "", failure
}

// stranger is what happens to the credentials of another workspace.
func (l *login) stranger(what, mend string) error {
	failure := l.refuse("other_workspace", "%s, not for %s: nothing was sent", what, l.workspace.Host)
	failure.Mend = mend + ", or " + failure.Mend
	return failure
}

// isAt tells whether a host, as it stands in a setting, is the workspace: with a scheme or without, with a path or a query.
func (l *login) isAt(host string) bool {
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	parsed, err := url.Parse(host)
	return err == nil && parsed.Scheme == l.workspace.Scheme && strings.EqualFold(parsed.Hostname(), l.workspace.Hostname()) &&
		portOf(parsed) == portOf(l.workspace)
}

func portOf(at *url.URL) string {
	if port := at.Port(); port != "" || at.Scheme != "https" {
		return port
	}
	return "443"
}

// hasCredentials tells whether any of the settings is for authentication.
func hasCredentials(cfg *config.Config) bool {
	for i := range config.ConfigAttributes {
		if attribute := &config.ConfigAttributes[i]; attribute.HasAuthAttribute() && !attribute.IsZero(cfg) {
			return true
		}
	}
	return false
}
