package bedrock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// service is what signatures are for: the runtime's host has a name of its own, the signature has not.
const service = "bedrock"

// signer signs calls with AWS's Signature Version 4. It is safe for concurrent use.
type signer struct {
	region string
	signer *v4.Signer
	// keys is nil until the machine's own credentials have been looked for. One caller at a time looks, and has put
	// a token into looking meanwhile.
	looking chan struct{}
	keys    aws.CredentialsProvider
}

func newSigner(options Options) *signer {
	s := &signer{region: options.Region, signer: v4.NewSigner(), looking: make(chan struct{}, 1)}
	if !options.AccessKeyID.IsZero() {
		s.keys = credentials.NewStaticCredentialsProvider(
			options.AccessKeyID.Reveal(), options.SecretAccessKey.Reveal(), options.SessionToken.Reveal())
	}
	return s
}

// authorize signs a call as it will go out, in its own headers: one that is added later is not covered, and a body that
// changes is refused.
func (s *signer) authorize(ctx context.Context, call *wire.Call) error {
	keys, err := s.retrieve(ctx)
	if err != nil {
		return s.failed(ctx, call.Op, err)
	}
	call.Key = schemas.NewSecret(keys.SecretAccessKey)
	digest := sha256.Sum256(call.Body)
	request := (&http.Request{
		Method: http.MethodPost, URL: call.URL, Host: call.URL.Host, Header: call.Header, ContentLength: int64(len(call.Body)),
	}).WithContext(ctx)
	if err := s.signer.SignHTTP(ctx, keys, request, hex.EncodeToString(digest[:]), service, s.region, time.Now()); err != nil {
		return s.failed(ctx, call.Op, err)
	}
	return nil
}

// retrieve returns the keys, renewed where they run out: the chain's provider keeps them until then.
func (s *signer) retrieve(ctx context.Context) (aws.Credentials, error) {
	select {
	case s.looking <- struct{}{}:
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err() //nolint:wrapcheck // the context's own
	}
	if s.keys == nil {
		found, err := config.LoadDefaultConfig(ctx, config.WithRegion(s.region))
		if err != nil {
			<-s.looking
			return aws.Credentials{}, err //nolint:wrapcheck // failed says what is to be known
		}
		s.keys = found.Credentials
	}
	keys := s.keys
	<-s.looking
	return keys.Retrieve(ctx) //nolint:wrapcheck // failed says what is to be known
}

// failed is the failure to get credentials. It does not show err: a credential process that prints something else than
// it should is quoted there, keys and all.
func (s *signer) failed(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		failure := &schemas.Error{
			Op: op, Class: schemas.Transient, Code: "canceled", Err: fmt.Errorf("given up before the credentials came: %w", context.Cause(ctx)),
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			failure.Code = "timeout"
		}
		return failure
	}
	text := "the AWS credential chain found no credentials"
	if answer, ok := errors.AsType[smithy.APIError](err); ok && isWord(answer.ErrorCode()) {
		text += ": " + answer.ErrorCode()
	}
	return &schemas.Error{
		Op: op, Class: schemas.Fatal, Code: "no_credentials", Err: errors.New(text),
		Mend: "name secrets under aws_access_key_id and aws_secret_access_key, or give the machine a role that may use Bedrock in aws_region " + s.region,
	}
}
