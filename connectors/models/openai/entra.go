package openai

import (
	"context"
	"net/http"
	"net/url"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/inflowhq/inflow/connectors/models/wire"
)

// entraScope is Azure's services for models.
const entraScope = "https://cognitiveservices.azure.com/.default"

func (o *Options) entraHost() string {
	if o.EntraHost == "" {
		return "https://login.microsoftonline.com"
	}
	return o.EntraHost
}

// entraTokens come by the client credentials grant
// (learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (o *Options) entraTokens() *wire.Tokens {
	host, _ := wire.BaseURL(o.entraHost(), "", DefaultBaseURL, "") // Check says what is wrong with it
	grant := clientcredentials.Config{
		ClientID: o.EntraClientID, ClientSecret: o.EntraClientSecret.Reveal(), Scopes: []string{entraScope},
		TokenURL:  host.JoinPath(url.PathEscape(o.EntraTenantID), "oauth2/v2.0/token").String(),
		AuthStyle: oauth2.AuthStyleInParams,
	}
	return wire.NewTokens(wire.TokenOptions{
		Op: "openai: Microsoft Entra token", Secret: o.EntraClientSecret, Client: o.Client,
		Source: func(ctx context.Context, client *http.Client) (*wire.Granted, error) {
			token, err := grant.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
			if err != nil {
				return nil, err //nolint:wrapcheck // wire tells what of it may be shown
			}
			return &wire.Granted{Token: token.AccessToken, Ends: token.Expiry}, nil
		},
		Mend: "check microsoft_entra_tenant_id, microsoft_entra_client_id and microsoft_entra_client_secret: one of them is wrong or has expired",
	})
}
