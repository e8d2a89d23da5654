package bedrock_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	accessKeyID = "AKIDEXAMPLE"
	region      = "eu-west-1"
)

// signed recomputes Signature Version 4 from what arrived, by the words of AWS's page on it
// (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html) and without their library.
func signed(r *http.Request, body []byte, accessKey, secret, token string) bool {
	parts := regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/bedrock/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$`).
		FindStringSubmatch(r.Header.Get("Authorization"))
	if parts == nil || parts[1] != accessKey || parts[3] != region || r.Header.Get("X-Amz-Security-Token") != token {
		return false
	}
	date := r.Header.Get("X-Amz-Date")
	if at, err := time.Parse("20060102T150405Z", date); err != nil || time.Since(at).Abs() > time.Minute || !strings.HasPrefix(date, parts[2]) {
		return false
	}
	names := strings.Split(parts[4], ";")
	for _, must := range []string{"host", "content-type", "x-amz-date"} {
		if !strings.Contains(";"+parts[4]+";", ";"+must+";") {
			return false
		}
	}
	var headers strings.Builder
	for _, name := range names {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		headers.WriteString(name + ":" + value + "\n")
	}
	path := strings.ReplaceAll(r.URL.EscapedPath(), "%", "%25") // every service but S3 escapes the path once more
	digest := sha256.Sum256(body)
	canonical := sha256.Sum256([]byte(strings.Join([]string{
		r.Method, path, r.URL.RawQuery, headers.String(), parts[4], hex.EncodeToString(digest[:]),
	}, "\n")))
	scope := strings.Join([]string{parts[2], region, "bedrock", "aws4_request"}, "/")
	key := []byte("AWS4" + secret)
	for _, text := range []string{parts[2], region, "bedrock", "aws4_request", strings.Join([]string{
		"AWS4-HMAC-SHA256", date, scope, hex.EncodeToString(canonical[:]),
	}, "\n")} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key) == parts[5]
}

// frame is an event of a stream as Bedrock sends it.
func frame(kind, payload string) string {
	return encode([][2]string{{":event-type", kind}, {":content-type", "application/json"}, {":message-type", "event"}}, payload)
}

// exception is a failure inside a stream.
func exception(kind, payload string) string {
	return encode([][2]string{{":exception-type", kind}, {":content-type", "application/json"}, {":message-type", "exception"}}, payload)
}

func encode(headers [][2]string, payload string) string {
	var out bytes.Buffer
	message := eventstream.Message{Payload: []byte(payload)}
	for _, header := range headers {
		message.Headers.Set(header[0], eventstream.StringValue(header[1]))
	}
	if err := eventstream.NewEncoder().Encode(&out, message); err != nil {
		panic(err)
	}
	return out.String()
}
