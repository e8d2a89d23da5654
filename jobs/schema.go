package jobs

import (
	_ "embed"
	"slices"
)

//go:embed job.schema.json
var schemaJSON []byte

// Schema returns the JSON Schema of the job file, draft 2020-12, for editors:
//
//	# yaml-language-server: $schema=job.schema.json
func Schema() []byte { return slices.Clone(schemaJSON) }
