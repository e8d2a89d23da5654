package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/inflowhq/inflow/schemas"
)

// The mechanisms, by the names that brokers give them, and Amazon's, which is tokens over OAUTHBEARER.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
	AWSMSKIAM   = "AWS_MSK_IAM"
)

// SASL says who this client is.
type SASL struct {
	// Mechanism is one of those above.
	Mechanism string
	// Username and Password are those of PLAIN and SCRAM.
	Username, Password string
	// Token gives the token of OAUTHBEARER, a fresh one whenever a connection is opened. It is safe for concurrent use.
	Token func(context.Context) (string, error)
	// OIDC is where OAUTHBEARER gets its tokens if Token is nil.
	OIDC *ClientCredentials
	// Extensions go to the broker beside an OAUTHBEARER token: logicalCluster and identityPoolId of Confluent Cloud.
	Extensions map[string]string
	// Region is the cluster's, for AWS_MSK_IAM.
	Region string
}

// ClientCredentials ask an OpenID provider for tokens.
type ClientCredentials struct {
	TokenURL     string
	ClientID     string
	ClientSecret string
	Scopes       []string
	// Audience is sent as such where it is not empty.
	Audience string
}

// plaintext reports whether the mechanism sends what may not be seen.
func (s *SASL) plaintext() bool { return s.Mechanism != ScramSHA256 && s.Mechanism != ScramSHA512 }

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	if s == nil {
		return nil, nil //nolint:nilnil // no authentication is not a failure
	}
	switch s.Mechanism {
	case Plain, ScramSHA256, ScramSHA512:
		if s.Username == "" || s.Password == "" {
			return nil, fmt.Errorf("%s needs a user name and a password", s.Mechanism)
		}
	}
	switch s.Mechanism {
	case Plain:
		return plain.Mechanism{Username: s.Username, Password: s.Password}, nil
	case ScramSHA256:
		return scram.Mechanism(scram.SHA256, s.Username, s.Password)
	case ScramSHA512:
		return scram.Mechanism(scram.SHA512, s.Username, s.Password)
	case OAuthBearer:
		for key, value := range s.Extensions {
			if key == "" || key == "auth" || strings.ContainsAny(key+value, "\x01=") {
				return nil, fmt.Errorf("%q is no extension of OAUTHBEARER", key)
			}
		}
		switch {
		case s.Token != nil:
			return &bearer{token: s.Token, extensions: s.Extensions}, nil
		case s.OIDC != nil:
			if s.OIDC.TokenURL == "" || s.OIDC.ClientID == "" {
				return nil, errors.New("OAUTHBEARER needs the token URL and the client id of its OpenID provider")
			}
			return &bearer{token: (&tokens{fetch: s.OIDC.token}).get, extensions: s.Extensions}, nil
		}
		return nil, errors.New("OAUTHBEARER needs a source of tokens")
	case AWSMSKIAM:
		if s.Region == "" {
			return nil, errors.New("AWS_MSK_IAM needs the cluster's region")
		}
		return &bearer{token: (&tokens{fetch: mskToken(s.Region)}).get}, nil
	}
	return nil, fmt.Errorf("the mechanism %q is none of %s", s.Mechanism,
		strings.Join([]string{Plain, ScramSHA256, ScramSHA512, OAuthBearer, AWSMSKIAM}, ", "))
}

// bearer is the mechanism OAUTHBEARER of RFC 7628.
type bearer struct {
	token      func(context.Context) (string, error)
	extensions map[string]string
}

// Name implements sasl.Mechanism.
func (*bearer) Name() string { return OAuthBearer }

// Start implements sasl.Mechanism.
func (b *bearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := b.token(ctx)
	if err != nil {
		return nil, nil, tokenError(err)
	}
	// What stands in here separates the parts of the message.
	if strings.ContainsAny(token, "\x00\x01") || token == "" {
		return nil, nil, tokenError(errors.New("the token is empty or holds control characters"))
	}
	message := []byte("n,,\x01auth=Bearer " + token + "\x01")
	for _, name := range slices.Sorted(maps.Keys(b.extensions)) {
		message = append(message, name+"="+b.extensions[name]+"\x01"...)
	}
	return b, append(message, 1), nil
}

// Next implements sasl.StateMachine. A challenge is the broker's reason for a refusal; the refusal itself follows once it
// was acknowledged.
func (*bearer) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) == 0 {
		return true, nil, nil
	}
	return false, []byte{1}, nil
}

// tokenError keeps the class of an error that has one. Of the others those are fatal in which the provider said no.
func tokenError(err error) error {
	if _, ok := errors.AsType[*schemas.Error](err); ok {
		return err
	}
	class, code := schemas.Transient, "token_unavailable"
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		// The response body may hold anything, so its text is left out.
		err = fmt.Errorf("the token endpoint answered %s: %s", refused.Response.Status, cmp.Or(refused.ErrorCode, "no error code"))
		if status := refused.Response.StatusCode; status < http.StatusInternalServerError && status != http.StatusTooManyRequests {
			class, code = schemas.Fatal, codeAuthentication
		}
	}
	return &schemas.Error{
		Op: "kafka: token", Class: class, Code: code, Err: err,
		Mend: "check the token URL, the client id and secret, and the scopes under kafka.sasl",
	}
}

// tokens keeps a token for as long as it is good.
type tokens struct {
	fetch func(context.Context) (string, time.Time, error)

	mu      sync.Mutex // held while a token is fetched: the others wait for the same one
	token   string
	expires time.Time
}

// tokenMargin is how long before its end a token is replaced.
const tokenMargin = time.Minute

func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && time.Until(t.expires) > tokenMargin {
		return t.token, nil
	}
	token, expires, err := t.fetch(ctx)
	if err != nil {
		return "", err
	}
	t.token, t.expires = token, expires
	return token, nil
}

func (c *ClientCredentials) token(ctx context.Context) (string, time.Time, error) {
	config := clientcredentials.Config{ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.TokenURL, Scopes: c.Scopes}
	if c.Audience != "" {
		config.EndpointParams = map[string][]string{"audience": {c.Audience}}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	client := &http.Client{Timeout: dialTimeout, Transport: transport}
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return "", time.Time{}, err
	}
	return token.AccessToken, token.Expiry, nil
}

func mskToken(region string) func(context.Context) (string, time.Time, error) {
	return func(ctx context.Context) (string, time.Time, error) {
		token, expires, err := signer.GenerateAuthToken(ctx, region)
		if err != nil {
			return "", time.Time{}, &schemas.Error{
				Op: "kafka: token for Amazon MSK", Class: schemas.Fatal, Code: codeAuthentication, Err: err,
				Mend: "log in to AWS so that `aws sts get-caller-identity` answers",
			}
		}
		return token, time.UnixMilli(expires), nil
	}
}
