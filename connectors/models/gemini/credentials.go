package gemini

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"cloud.google.com/go/compute/metadata"
	"github.com/tidwall/gjson"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/jwt"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	cloudScope = "https://www.googleapis.com/auth/cloud-platform"
	grantOp    = "vertex ai: access token"
	// quotaHeader names the project on whose quota and bill a person's calls go
	// (cloud.google.com/docs/quotas/set-quota-project).
	quotaHeader = "X-Goog-User-Project"
)

// accessTokens are a service account's where there is its key, else those of the application default credentials.
// Nothing is read or asked before the first call. Errors show nothing of the key.
func accessTokens(options *Options) (*wire.Tokens, error) {
	tokens := wire.TokenOptions{Op: grantOp, Secret: options.PrivateKey, Client: options.Client}
	if options.PrivateKey.IsZero() {
		tokens.Source = defaultToken
		tokens.Mend = refusedMend
		return wire.NewTokens(tokens), nil
	}
	config, err := accountOf(options.PrivateKey)
	if err != nil {
		return nil, err
	}
	tokens.Source = func(ctx context.Context, client *http.Client) (*wire.Granted, error) {
		return granted(config.TokenSource(over(ctx, client)), nil)
	}
	tokens.Mend = "check the service account's key under private_key (wrong, revoked, of a deleted account?) and this machine's clock"
	return wire.NewTokens(tokens), nil
}

// accountOf reads the key file of a service account.
func accountOf(secret schemas.Secret) (*jwt.Config, error) {
	invalid := func(reason string) error {
		return fmt.Errorf("%w: private_key %s; give the JSON key file of a service account, whole", schemas.ErrInvalid, reason)
	}
	text := []byte(strings.TrimSpace(secret.Reveal()))
	if strings.HasPrefix(string(text), "-----BEGIN") {
		return nil, invalid("is the key alone")
	}
	config, err := google.JWTConfigFromJSON(text, cloudScope)
	if err != nil || config.Email == "" {
		return nil, invalid("is no such file")
	}
	if _, err := google.JWTAccessTokenSourceWithScope(text, cloudScope); err != nil { // signs, and sends nothing
		return nil, invalid("holds no RSA key")
	}
	to, err := url.Parse(config.TokenURL)
	if err != nil || (to.Scheme != "https" && to.Scheme != "http") || to.Host == "" {
		return nil, invalid("has a token_uri that is no URL")
	}
	return config, nil
}

const (
	noneMend = "set private_key, or run `gcloud auth application-default login`, or let GOOGLE_APPLICATION_CREDENTIALS name a " +
		"credentials file"
	refusedMend = "check the application default credentials (revoked? without a role?) and this machine's clock, or " + noneMend
)

// defaultToken asks with the application default credentials (cloud.google.com/docs/authentication/
// application-default-credentials). They are looked for each time: who logs in anew is heard when the token is renewed.
func defaultToken(ctx context.Context, client *http.Client) (*wire.Granted, error) {
	type result struct {
		granted *wire.Granted
		err     error
	}
	// What the library asks the metadata server goes over a client of its own and is deaf to ctx. It ends by itself,
	// within two minutes even where that server hangs, and then nobody may be there to hear.
	done := make(chan result, 1)
	go func() {
		found, err := findToken(over(ctx, client))
		done <- result{found, err}
	}()
	select {
	case got := <-done:
		return got.granted, got.err
	case <-ctx.Done():
		return nil, ctx.Err() //nolint:wrapcheck // whoever set the deadline says what it means
	}
}

func findToken(ctx context.Context) (*wire.Granted, error) {
	credentials, err := google.FindDefaultCredentialsWithParams(ctx, google.CredentialsParams{
		Scopes: []string{cloudScope},
		// Else the library would call nil for the file of an OAuth client, which is easily taken for credentials.
		AuthHandler: func(string) (string, string, error) {
			return "", "", errors.New("the credentials file is an OAuth client's, and nobody's credentials")
		},
	})
	if err != nil {
		return nil, &schemas.Error{Op: grantOp, Class: schemas.Fatal, Code: "no_credentials", Mend: noneMend, Err: err}
	}
	if credentials.JSON == nil { // they are this machine's
		token, err := granted(credentials.TokenSource, nil)
		return token, metadataFailure(err)
	}
	var header http.Header
	if project := gjson.GetBytes(credentials.JSON, "quota_project_id").Str; project != "" {
		header = http.Header{quotaHeader: {project}}
	}
	return granted(credentials.TokenSource, header)
}

// over has the library speak over a client.
func over(ctx context.Context, client *http.Client) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, client)
}

func granted(source oauth2.TokenSource, header http.Header) (*wire.Granted, error) {
	token, err := source.Token()
	if err != nil {
		return nil, err //nolint:wrapcheck // wire tells what of it may be shown
	}
	return &wire.Granted{Token: token.AccessToken, Ends: token.Expiry, Header: header}, nil
}

// metadataFailure classifies what the metadata server of a machine in Google's cloud said.
func metadataFailure(err error) error {
	if err == nil {
		return nil
	}
	failure := &schemas.Error{
		Op: grantOp, Class: schemas.Transient, Code: "metadata_server_failed",
		Err: errors.New("this machine's metadata server gave no token"), // what it did say may be anybody's
	}
	if refused, ok := errors.AsType[*metadata.Error](err); ok {
		failure.HTTPStatus = refused.Code
		failure.Class, failure.Code = wire.ClassOfStatus(refused.Code)
	}
	if _, ok := errors.AsType[metadata.NotDefinedError](err); ok {
		failure.Class, failure.Code = schemas.Fatal, "no_credentials"
		failure.Err = errors.New("this machine has no service account")
		failure.Mend = noneMend
	}
	return failure
}
