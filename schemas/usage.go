package schemas

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// UsageSchemaVersion is the value of the usage table's schema_version column.
const UsageSchemaVersion = 1

// timestamp is Delta's TIMESTAMP: microseconds, UTC.
func timestamp() arrow.DataType {
	return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
}

func stringMap() arrow.DataType {
	return arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String)
}

func column(name string, dataType arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: dataType, Nullable: true}
}

func text(name string) arrow.Field { return column(name, arrow.BinaryTypes.String) }

func bigint(name string) arrow.Field { return column(name, arrow.PrimitiveTypes.Int64) }

func integer(name string) arrow.Field { return column(name, arrow.PrimitiveTypes.Int32) }

// UsageSchema returns the columns of the usage table: those of Databricks' system.ai_gateway.usage by name,
// type and order, then ours.
func UsageSchema() *arrow.Schema {
	when := timestamp()
	attempts := arrow.ListOf(arrow.StructOf(text("action"), text("destination"), integer("status_code"), bigint("latency_ms")))
	return arrow.NewSchema([]arrow.Field{
		text("account_id"), text("workspace_id"), text("request_id"), integer("schema_version"),
		text("endpoint_id"), text("endpoint_name"), column("endpoint_tags", stringMap()),
		column("endpoint_metadata", arrow.StructOf(
			text("creator"), column("creation_time", when), column("last_updated_time", when),
			column("destinations", arrow.ListOf(arrow.BinaryTypes.String)), text("inference_table"))),
		column("event_time", when), bigint("latency_ms"), bigint("time_to_first_byte_ms"),
		text("destination_type"), text("destination_name"), text("destination_id"), text("destination_model"),
		text("requester"), text("requester_type"),
		text("ip_address"), text("url"), text("user_agent"), text("api_type"), column("request_tags", stringMap()),
		bigint("input_tokens"), bigint("output_tokens"), bigint("total_tokens"),
		column("token_details", arrow.StructOf(
			bigint("cache_read_input_tokens"), bigint("cache_creation_input_tokens"), bigint("output_reasoning_tokens"))),
		text("response_content_type"), integer("status_code"),
		column("routing_information", arrow.StructOf(column("attempts", attempts))),
		text("invocation_id"), column("invocation_metadata", arrow.StructOf(text("source"), text("service_tier"))),
		text("service_type"), text("service_id"), text("service_name"), column("service_tags", stringMap()),
		column("mcp_metadata", arrow.StructOf(text("json_rpc_method"), text("tool_name"), text("server_type"), text("client_name"))),

		column("request_date", arrow.FixedWidthTypes.Date32),
		text("client_request_id"), column("usage_context", stringMap()),
		column("cost_usd", &arrow.Decimal128Type{Precision: 38, Scale: USDScale}), text("price_version"),
		text("billable_basis"), text("provider_usage"),
		text("prompt_name"), text("prompt_version"), text("variant"),
		text("idempotency_key"), text("reused_from"),
		text("job"), text("run_id"), text("task_key"), integer("attempt"),
		text("source_name"), text("source_partition"), bigint("source_offset"), bigint("source_version"), text("row_key"),
		column("error", arrow.StructOf(text("code"), text("class"), text("message"), integer("http_status"))),
	}, nil)
}

// UsageRepeats names the usage table's columns that hold few different texts.
func UsageRepeats() []string {
	return []string{
		"endpoint_id", "endpoint_name", "endpoint_tags", "endpoint_metadata", "destination_type", "destination_name",
		"destination_id", "destination_model", "requester", "requester_type", "url", "api_type", "response_content_type",
		"routing_information", "price_version", "billable_basis", "prompt_name", "prompt_version", "job", "run_id", "task_key",
		"source_name", "source_partition", "error",
	}
}

// UsageBuilder turns invocations into records of UsageSchema. It is not safe for concurrent use.
type UsageBuilder struct {
	record *array.RecordBuilder
	rows   int
}

// NewUsageBuilder returns a builder whose records are allocated from mem. Release it when done.
func NewUsageBuilder(mem memory.Allocator) *UsageBuilder {
	return &UsageBuilder{record: array.NewRecordBuilder(mem, UsageSchema())}
}

// Len is the number of rows appended since the last NewRecord.
func (b *UsageBuilder) Len() int { return b.rows }

// NewRecord returns the rows appended so far and starts anew. The caller releases the record.
func (b *UsageBuilder) NewRecord() arrow.Record {
	for i := range b.record.Schema().NumFields() {
		column := b.record.Field(i) // what nobody can know outside Databricks is NULL throughout
		column.AppendNulls(b.rows - column.Len())
	}
	b.rows = 0
	return b.record.NewRecord()
}

// Release frees the builder.
func (b *UsageBuilder) Release() { b.record.Release() }

// Append adds one row. What inv does not know is NULL.
func (b *UsageBuilder) Append(inv *Invocation) {
	b.rows++
	row := fields{next: b.record.Field}

	row.skip(2) // account_id, workspace_id: known only inside Databricks
	row.text(inv.RequestID)
	row.integer(UsageSchemaVersion, true)
	row.text(inv.EndpointID)
	row.text(inv.EndpointName)
	row.stringMap(inv.EndpointTags)
	row.structure(func(f *fields) {
		f.text(inv.EndpointCreator)
		f.time(inv.EndpointCreated)
		f.time(inv.EndpointLastUpdated)
		f.texts(inv.Destinations)
		f.null() // inference_table
	})
	row.time(inv.EventTime)
	row.bigint(inv.Latency.Milliseconds(), inv.ReusedFrom == "")
	row.bigint(inv.TimeToFirstByte.Milliseconds(), inv.TimeToFirstByte > 0)
	row.text(inv.DestinationType)
	row.text(inv.DestinationName)
	row.text(inv.DestinationID)
	row.text(inv.Model)
	row.text(inv.Requester)
	row.text(requesterType(inv.Requester))
	row.skip(1) // ip_address: there is no client address in a batch
	row.text(inv.URL)
	row.skip(1) // user_agent
	row.text(inv.APIType)
	row.skip(1) // request_tags
	row.bigint(inv.InputTokens, true)
	row.bigint(inv.OutputTokens, true)
	row.bigint(inv.TotalTokens, true)
	row.structure(func(f *fields) {
		f.optional(inv.CacheReadInputTokens)
		f.optional(inv.CacheCreationInputTokens)
		f.optional(inv.OutputReasoningTokens)
	})
	row.text(inv.ContentType)
	row.integer(inv.StatusCode, inv.StatusCode != 0)
	row.structure(func(f *fields) { f.attempts(inv.Attempts) })
	row.text(inv.InvocationID)
	if inv.ServiceTier == "" {
		row.skip(1) // invocation_metadata
	} else {
		row.fill(b.rows - 1)
		row.structure(func(f *fields) {
			f.null() // source
			f.text(inv.ServiceTier)
		})
	}
	row.skip(5) // service_type, service_id, service_name, service_tags, mcp_metadata
	row.date(inv.EventTime)
	row.skip(2) // client_request_id, usage_context
	row.usd(inv.CostUSD)
	row.text(inv.PriceVersion)
	row.text(string(inv.BillableBasis))
	row.text(inv.ProviderUsage)
	row.text(inv.PromptName)
	row.text(inv.PromptVersion)
	row.skip(1) // variant
	row.text(inv.IdempotencyKey)
	row.text(inv.ReusedFrom)
	row.text(inv.Job)
	row.text(inv.RunID)
	row.text(inv.TaskKey)
	row.integer(inv.Attempt, inv.Attempt != 0)
	row.text(inv.SourceName)
	row.text(inv.SourcePartition)
	row.bigint(inv.SourceOffset, true)
	row.bigint(inv.SourceVersion, inv.SourceVersion >= 0)
	row.text(inv.RowKey)
	if inv.Error == nil {
		row.null()
		return
	}
	row.structure(func(f *fields) {
		f.text(inv.Error.Code)
		f.text(inv.Error.Class.String())
		f.text(inv.Error.Message)
		f.integer(inv.Error.HTTPStatus, inv.Error.HTTPStatus != 0)
	})
}

// requesterType follows Databricks: people are known by an address, service principals by an application id.
func requesterType(requester string) string {
	if requester == "" {
		return ""
	}
	for _, char := range requester {
		if char == '@' {
			return "USER"
		}
	}
	return "SERVICE_PRINCIPAL"
}
