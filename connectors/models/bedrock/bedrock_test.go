package bedrock_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/bedrock"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func options() bedrock.Options {
	return bedrock.Options{
		BaseURL: "https://bedrock.example", Region: region, AccessKeyID: schemas.NewSecret(accessKeyID),
		SecretAccessKey: schemas.NewSecret(modeltest.Secret), Model: "test-model",
	}
}

// served is a model at a server that answers everything with a status, headers and a body.
func served(t *testing.T, o bedrock.Options, handler http.HandlerFunc) *wire.Model {
	t.Helper()
	server := httptest.NewServer(handler)
	client := wire.NewClient(wire.ClientOptions{MaxConns: 4, Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	o.BaseURL, o.Client = server.URL, client
	return bedrock.New(o)
}

func says(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// TestStreamFailures: words in a stream have the class that they have in a status.
func TestStreamFailures(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]schemas.Class{
		"throttlingException": schemas.Throttled, "modelStreamErrorException": schemas.Transient, "validationException": schemas.Rejected,
		"serviceUnavailableException": schemas.Transient, "internalServerException": schemas.Transient, "modelTimeoutException": schemas.Transient,
		"accessDeniedException": schemas.Fatal, "somethingNewException": schemas.Transient, "": schemas.Transient,
	} {
		m := served(t, options(), says(200, nil, exception(word, `{"message":"m"}`)))
		_, err := m.Stream(t.Context(), modeltest.Question(), func(*schemas.Event) error { return nil })
		if failure, ok := errors.AsType[*schemas.Error](err); !ok || failure.Class != want || failure.Code == "" {
			t.Errorf("%s: got %#v", word, err)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		header string
		body   string
		class  schemas.Class
		code   string
	}{
		{429, "ThrottlingException", `{"message":"slow down"}`, schemas.Throttled, "rate_limit_exceeded"},
		{429, "ModelNotReadyException", `{}`, schemas.Throttled, "model_not_ready"},
		{400, "ServiceQuotaExceededException:http://x/", `{}`, schemas.Throttled, "quota_exceeded"},
		{400, "ValidationException:http://x/", `{}`, schemas.Rejected, "bad_request"},
		{400, "", `{"__type":"com.amazon.coral.service#ValidationException"}`, schemas.Rejected, "bad_request"},
		{408, "ModelTimeoutException", `{}`, schemas.Transient, "model_timeout"},
		{424, "ModelErrorException", `{"originalStatusCode":500,"resourceName":"r"}`, schemas.Transient, "model_error"},
		{424, "ModelStreamErrorException", `{}`, schemas.Transient, "model_stream_error"},
		{500, "InternalServerException", `{}`, schemas.Transient, "server_error"},
		{503, "ServiceUnavailableException", `{}`, schemas.Transient, "service_unavailable"},
		{403, "AccessDeniedException", `{"Message":"You don't have access to the model"}`, schemas.Fatal, "access_denied"},
		{403, "UnrecognizedClientException", `{}`, schemas.Fatal, "invalid_access_key"},
		{403, "ExpiredTokenException", `{}`, schemas.Fatal, "expired_token"},
		{403, "InvalidSignatureException", `{"message":"The Canonical String was: x-amz-security-token:TOKEN"}`, schemas.Fatal, "invalid_signature"},
		{400, "IncompleteSignature", `{"message":"TOKEN"}`, schemas.Fatal, "invalid_signature"},
		{404, "ResourceNotFoundException", `{"message":"no such model"}`, schemas.Fatal, "model_not_found"},
		{404, "UnknownOperationException", `<UnknownOperationException/>`, schemas.Fatal, "UnknownOperationException"},
		{403, "bad word", `{"__type":"` + modeltest.Secret + `","message":"` + modeltest.Secret + `"}`, schemas.Fatal, "forbidden"},
	} {
		m := served(t, options(), says(c.status, http.Header{"X-Amzn-Errortype": {c.header}}, c.body))
		_, err := m.Invoke(t.Context(), modeltest.Question())
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != c.class || failure.Code != c.code || failure.HTTPStatus != c.status {
			t.Errorf("%s: got %#v", c.header, err)
			continue
		}
		if strings.Contains(err.Error(), "TOKEN") || strings.Contains(err.Error(), modeltest.Secret) {
			t.Errorf("%s: the error shows a secret: %v", c.header, err)
		}
		if c.class == schemas.Fatal && c.status == 403 && !strings.Contains(failure.Mend, "aws_secret_access_key") {
			t.Errorf("%s: the mend does not name the setting: %q", c.header, failure.Mend)
		}
	}
}

// TestSignature asks for models of every kind of name, with a token, over a path and a query.
func TestSignature(t *testing.T) {
	t.Parallel()
	for model, path := range map[string]string{
		"anthropic.claude-3-5-sonnet-20240620-v1:0":                   "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
		"arn:aws:bedrock:us-east-1:123:inference-profile/us.meta.a:0": "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123%3Ainference-profile%2Fus.meta.a%3A0/converse",
		"a b+c%2F": "/model/a%20b%2Bc%252F/converse",
	} {
		o := options()
		o.Model, o.SessionToken = model, schemas.NewSecret("TOKEN")
		m := served(t, o, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if !signed(r, body, accessKeyID, modeltest.Secret, "TOKEN") {
				t.Errorf("the signature is wrong: %s %v", r.RequestURI, r.Header)
			}
			if signed(r, append(body, ' '), accessKeyID, modeltest.Secret, "TOKEN") || signed(r, body, accessKeyID, "other", "TOKEN") {
				t.Error("the test takes any signature")
			}
			if r.URL.EscapedPath() != path || r.Header.Get("Accept") != "application/json" {
				t.Errorf("got %s %v", r.RequestURI, r.Header)
			}
			_, _ = io.WriteString(w, answer(`{"text":"a"}`, "end_turn", usage20and5))
		})
		got, err := m.Invoke(t.Context(), modeltest.Question())
		if err != nil || got.Model != model {
			t.Errorf("got %+v %v", got, err)
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"":                           "https://bedrock-runtime.eu-west-1.amazonaws.com/model/test-model/converse",
		"http://127.0.0.1:9":         "http://127.0.0.1:9/model/test-model/converse",
		"http://127.0.0.1:9/":        "http://127.0.0.1:9/model/test-model/converse",
		"https://x/proxy/?key=TOKEN": "https://x/proxy/model/test-model/converse",
	} {
		o := options()
		o.BaseURL = base
		if got := bedrock.New(o).URL(schemas.TaskChat); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*bedrock.Options){
		"aws_region":              func(o *bedrock.Options) { o.Region = "" },
		"aws_region names":        func(o *bedrock.Options) { o.Region = "x.evil.com/"; o.BaseURL = "" },
		"no http or https URL":    func(o *bedrock.Options) { o.BaseURL = "ftp://x" },
		"is no http or https URL": func(o *bedrock.Options) { o.BaseURL = "::" },
		"a user, a password":      func(o *bedrock.Options) { o.BaseURL = "https://u:" + modeltest.Secret + "@x" },
		"external_model.name":     func(o *bedrock.Options) { o.Model = "" },
		"set both, or neither":    func(o *bedrock.Options) { o.SecretAccessKey = schemas.Secret{} },
		"go together: set both":   func(o *bedrock.Options) { o.AccessKeyID = schemas.Secret{} },
		"aws_session_token": func(o *bedrock.Options) {
			o.AccessKeyID, o.SecretAccessKey, o.SessionToken = schemas.Secret{}, schemas.Secret{}, schemas.NewSecret("TOKEN")
		},
	} {
		o := options()
		change(&o)
		m := bedrock.New(o)
		if err := m.Check(&schemas.Request{}); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), modeltest.Secret) {
			t.Errorf("want %q, got %v", want, err)
		}
		got, err := m.Invoke(t.Context(), modeltest.Question())
		if schemas.ClassOf(err) != schemas.Fatal || got.Usage.Basis != schemas.BasisNone {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// chain takes the machine's own credentials away and puts the given ones there.
func chain(t *testing.T, set map[string]string) bedrock.Options {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		t.Setenv(name, set[name])
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(name, t.TempDir()+"/none")
	}
	o := options()
	o.AccessKeyID, o.SecretAccessKey = schemas.Secret{}, schemas.Secret{}
	return o
}

func TestCredentialChain(t *testing.T) { //nolint:paralleltest // the environment is changed
	o := chain(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDCHAIN", "AWS_SECRET_ACCESS_KEY": "chain-secret", "AWS_SESSION_TOKEN": "TOKEN"})
	m := served(t, o, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !signed(r, body, "AKIDCHAIN", "chain-secret", "TOKEN") {
			t.Errorf("the signature is wrong: %v", r.Header)
		}
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"message":"chain-secret is not allowed"}`)
	})
	for range 2 {
		_, err := m.Invoke(t.Context(), modeltest.Question())
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Code != "access_denied" || strings.Contains(err.Error(), "chain-secret") || strings.Contains(failure.Mend, "no key was sent") {
			t.Errorf("got %#v", err)
		}
	}
}

func TestNoCredentials(t *testing.T) { //nolint:paralleltest // the environment is changed
	m := served(t, chain(t, nil), func(http.ResponseWriter, *http.Request) { t.Error("a call without credentials went out") })
	got, err := m.Invoke(t.Context(), modeltest.Question())
	failure, ok := errors.AsType[*schemas.Error](err)
	if !ok || failure.Class != schemas.Fatal || failure.Code != "no_credentials" || got.Usage.Basis != schemas.BasisNone {
		t.Fatalf("got %#v", err)
	}
	for _, setting := range []string{"aws_access_key_id", "aws_secret_access_key", "aws_region"} {
		if !strings.Contains(failure.Mend, setting) {
			t.Errorf("the mend does not name %s: %s", setting, failure.Mend)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Invoke(ctx, modeltest.Question()); !errors.Is(err, context.Canceled) || schemas.ClassOf(err) != schemas.Transient {
		t.Errorf("got %#v", err)
	}
}

// TestCallsAtOnce: many rows look for the machine's credentials together.
func TestCallsAtOnce(t *testing.T) { //nolint:paralleltest // the environment is changed
	o := chain(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDCHAIN", "AWS_SECRET_ACCESS_KEY": "chain-secret"})
	m := served(t, o, says(200, nil, answer(`{"text":"a"}`, "end_turn", usage20and5)))
	failures := make(chan error, 16)
	for range cap(failures) {
		go func() {
			_, err := m.Invoke(t.Context(), modeltest.Question())
			failures <- err
		}()
	}
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}
