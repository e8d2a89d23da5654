package openai

import (
	"net/url"
	"time"

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
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {entraScope},
		"client_id": {o.EntraClientID}, "client_secret": {o.EntraClientSecret.Reveal()},
	}
	return wire.NewTokens(wire.TokenOptions{
		Op: "openai: Microsoft Entra token", URL: host.JoinPath(url.PathEscape(o.EntraTenantID), "oauth2/v2.0/token"),
		Grant: func(time.Time) (url.Values, error) { return form, nil }, Secret: o.EntraClientSecret, Client: o.Client,
		Mend: "check microsoft_entra_tenant_id, microsoft_entra_client_id and microsoft_entra_client_secret: one of them is wrong or has expired",
	})
}
