// Package kafka reads topics into batches and writes records to topics.
package kafka

import (
	_ "github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/segmentio/kafka-go"
	_ "github.com/segmentio/kafka-go/sasl/scram"
	_ "github.com/twmb/franz-go/pkg/kfake"
	_ "github.com/twmb/franz-go/pkg/kgo"
)
