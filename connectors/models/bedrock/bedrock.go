// Package bedrock asks models over Amazon Bedrock's Converse API, which is one format for the models of all makers.
//
// It owns the request body, its signature, the answer's decoding and the frames of a streamed answer. It refuses what
// Converse has no field for; a model's own parameters go through additional_model_request_fields. It neither retries nor
// limits; the HTTP part is package wire's.
package bedrock

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Options say where a model is and who asks.
type Options struct {
	BaseURL string // empty for Amazon's own in the region
	Region  string // "us-east-1": part of the signature, and of Amazon's own host
	// AccessKeyID and SecretAccessKey are static keys, SessionToken comes with temporary ones. Without them the
	// machine's own credentials are found, as every AWS tool finds them.
	AccessKeyID     schemas.Secret
	SecretAccessKey schemas.Secret
	SessionToken    schemas.Secret
	// Model is a model's ID, an inference profile's, or the ARN of either.
	Model  string
	Client *wire.Client // shared by all models of a job; nil for one of its own
}

// format is Converse, of one model in one region.
type format struct {
	whole, streamed *url.URL // where to ask for an answer at once, and for one in events
	fault           error    // why no call can work
	// grossStreams is set for models whose streams count cached tokens in inputTokens (see readUsage).
	grossStreams bool
	// encoded is the last parameters map and its JSON. A job gives every row the same map, which is therefore
	// encoded once. The map is held so that its address cannot be another's.
	encoded atomic.Pointer[encodedParameters]
}

// New returns the model. Whether the options can work is what Check tells, and every Invoke.
func New(options Options) *wire.Model {
	if options.Client == nil {
		options.Client = wire.NewClient(wire.ClientOptions{})
	}
	base, fault := baseURL(options)
	f := &format{
		whole: base.JoinPath("model", escape(options.Model), "converse"), streamed: base.JoinPath("model", escape(options.Model), "converse-stream"),
		fault: errors.Join(fault, checkKeys(options)), grossStreams: openAI().MatchString(options.Model),
	}
	if options.Model == "" {
		f.fault = errors.Join(f.fault, fmt.Errorf("%w: the destination names no model: set external_model.name", schemas.ErrInvalid))
	}
	return wire.NewModel(wire.ModelOptions{
		Format: f, Model: options.Model, Client: options.Client, Authorize: newSigner(options).authorize,
	})
}

// openAI matches the IDs of OpenAI's models: the model's own, a profile's as us.openai.gpt-5, and their ARNs.
func openAI() *regexp.Regexp { return regexp.MustCompile(`(^|[./])openai\.`) }

// baseURL reads where the API is. Its errors do not show a URL: it may hold a secret.
func baseURL(options Options) (*url.URL, error) {
	var fault error
	if !regexp.MustCompile(`^[a-z0-9-]{1,32}$`).MatchString(options.Region) {
		fault = fmt.Errorf("%w: aws_region names no region; write it like us-east-1", schemas.ErrInvalid)
	}
	if options.BaseURL == "" {
		if fault != nil {
			return &url.URL{}, fault
		}
		options.BaseURL = "https://bedrock-runtime." + options.Region + ".amazonaws.com"
	}
	parsed, err := wire.BaseURL(options.BaseURL, "bedrock_api_base", "https://bedrock-runtime.us-east-1.amazonaws.com", "aws_secret_access_key")
	return parsed, errors.Join(fault, err)
}

// checkKeys refuses halves of a key, with which the machine's own credentials would be taken instead.
func checkKeys(options Options) error {
	switch {
	case options.AccessKeyID.IsZero() != options.SecretAccessKey.IsZero():
		return fmt.Errorf("%w: aws_access_key_id and aws_secret_access_key go together: set both, or neither", schemas.ErrInvalid)
	case options.AccessKeyID.IsZero() && !options.SessionToken.IsZero():
		return fmt.Errorf("%w: aws_session_token is set without aws_access_key_id and aws_secret_access_key", schemas.ErrInvalid)
	}
	return nil
}

// escape writes a model's name as one segment of a path. url.PathEscape leaves the colon, which AWS escapes, and the
// signature is over the escaped path.
func escape(name string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for _, char := range []byte(name) {
		switch {
		case char >= 'a' && char <= 'z', char >= 'A' && char <= 'Z', char >= '0' && char <= '9',
			char == '-', char == '.', char == '_', char == '~':
			out.WriteByte(char)
		default:
			out.Write([]byte{'%', hex[char>>4], hex[char&15]})
		}
	}
	return out.String()
}

// URL is where chats go.
func (f *format) URL(schemas.Task) string {
	shown := *f.whole
	shown.RawQuery = ""
	return shown.String()
}

// call makes a request, which is signed later: Encode does no I/O, and the credentials may have to be fetched.
func (f *format) call(stream bool, body []byte) *wire.Call {
	target, accept := *f.whole, "application/json"
	if stream {
		target, accept = *f.streamed, "application/vnd.amazon.eventstream"
	}
	return &wire.Call{
		Op: "bedrock: converse", URL: &target, Body: body,
		Header:   http.Header{"Content-Type": {"application/json"}, "Accept": {accept}, "User-Agent": {"inflow"}},
		KeyField: "aws_access_key_id, aws_secret_access_key and aws_region", ModelField: "external_model.name",
		Rules: rules(), Problem: readProblem,
	}
}
