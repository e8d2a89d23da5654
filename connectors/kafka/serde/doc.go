// Package serde turns keys and values of records into columns, and rows into keys and values.
package serde

import (
	_ "github.com/bufbuild/protocompile"
	_ "github.com/hamba/avro/v2"
	_ "github.com/twmb/franz-go/pkg/sr"
	_ "google.golang.org/protobuf/types/dynamicpb"
)
