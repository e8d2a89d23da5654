package bedrock

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Check tells every reason why such a request cannot be put, before anything is paid.
func (f *format) Check(request *schemas.Request) error {
	parameters, err := encodeParameters(request.Parameters)
	faults := []error{f.checkShape(request), err, checkFormat(request, parameters)}
	faults = append(faults, checkTools(request)...)
	faults = append(faults, checkMessages(request.Messages)...)
	return errors.Join(faults...)
}

func invalid(format string, arguments ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{schemas.ErrInvalid}, arguments...)...)
}

// checkFormat: one answer keeps to one schema.
func checkFormat(request *schemas.Request, parameters *encodedParameters) error {
	if request.Format != nil && !wire.IsObject(request.Format.Schema) {
		return invalid("the format's schema is no JSON object")
	}
	if request.Format != nil && parameters != nil && parameters.formatted {
		return invalid("request.parameters.response_format: the request has a format of its own; remove it")
	}
	return nil
}

func checkTools(request *schemas.Request) []error {
	var faults []error
	name := regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`) // API reference, ToolSpecification
	names := make([]string, 0, len(request.Tools))
	for i := range request.Tools {
		names = append(names, request.Tools[i].Name)
		if !name.MatchString(request.Tools[i].Name) {
			faults = append(faults, invalid("the tool name %.80q: bedrock takes 1 to 64 letters, digits, _ and -", request.Tools[i].Name))
		}
		if schema := request.Tools[i].Parameters; len(schema) > 0 && !wire.IsObject(schema) {
			faults = append(faults, invalid("the parameters of the tool %.80q are no JSON Schema", request.Tools[i].Name))
		}
	}
	turns := hasToolTurns(request)
	if turns && len(request.Tools) == 0 {
		faults = append(faults, invalid("the messages hold tool calls or results, with which bedrock wants the tools; add them"))
	}
	switch choice := request.ToolChoice; choice {
	case "", schemas.ToolChoiceAuto:
	case schemas.ToolChoiceNone:
		if turns {
			faults = append(faults, invalid("bedrock has no tool choice none while the messages hold tool calls or results; leave the choice out"))
		}
	case schemas.ToolChoiceRequired:
		if len(names) == 0 {
			faults = append(faults, invalid("the tool choice is required, but there are no tools"))
		}
	default:
		if !slices.Contains(names, string(choice)) {
			faults = append(faults, invalid("the tool choice %.80q names none of the tools", choice))
		}
	}
	return faults
}

func checkMessages(messages []schemas.Message) []error {
	var faults []error
	first := ""
	for i := range messages {
		message := &messages[i]
		switch message.Role {
		case schemas.RoleUser, schemas.RoleAssistant, schemas.RoleTool:
			if first == "" {
				first = message.Role
			}
		case schemas.RoleSystem:
		default:
			faults = append(faults, invalid("bedrock knows no role %.40q", message.Role))
		}
		faults = append(faults, checkParts(message)...)
		faults = append(faults, checkToolTurn(message)...)
	}
	if len(messages) > 0 && first != schemas.RoleUser {
		faults = append(faults, invalid("a conversation of bedrock begins with a user's message")) // Converse refuses any other
	}
	return faults
}

// checkToolTurn: the texts that name a call are of limited form (API reference, ToolUseBlock).
func checkToolTurn(message *schemas.Message) []error {
	var faults []error
	id := regexp.MustCompile(`^[a-zA-Z0-9_.:-]{1,64}$`)
	if message.Role == schemas.RoleTool && !id.MatchString(message.ToolCallID) {
		faults = append(faults, invalid("the id %.80q of a tool call: bedrock takes 1 to 64 letters, digits and _.:-", message.ToolCallID))
	}
	for _, call := range message.ToolCalls {
		if !id.MatchString(call.ID) {
			faults = append(faults, invalid("the id %.80q of a tool call: bedrock takes 1 to 64 letters, digits and _.:-", call.ID))
		}
		if call.Arguments != "" && !wire.IsObject([]byte(call.Arguments)) {
			faults = append(faults, invalid("the arguments of a call of the tool %.80q are no JSON object", call.Name))
		}
	}
	return faults
}

func checkParts(message *schemas.Message) []error {
	var faults []error
	text, document := false, false
	for _, part := range message.Parts {
		text = text || part.Text != ""
		media := part.Media
		if media == nil {
			continue
		}
		document = document || media.Kind == schemas.MediaFile
		switch {
		case message.Role == schemas.RoleSystem || message.Role == schemas.RoleAssistant:
			faults = append(faults, invalid("bedrock takes media from the user and from tools, not in a %s message", message.Role))
		case message.Role == schemas.RoleTool && media.Kind == schemas.MediaAudio:
			faults = append(faults, invalid("bedrock takes no audio from a tool"))
		}
		if mediaFormat(media) == "" {
			faults = append(faults, invalid("bedrock takes no %s as %.80q", media.Kind, media.MIMEType))
		}
		if media.URL != "" && !strings.HasPrefix(media.URL, "s3://") {
			faults = append(faults, invalid("bedrock takes the bytes of a %s or its s3:// URL, and fetches no other", media.Kind))
		}
	}
	if document && !text && message.Role == schemas.RoleUser {
		faults = append(faults, invalid("bedrock wants a text beside a document; add one to the message")) // API reference, Message
	}
	return faults
}
