package proxy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"talos.internal/api/commonpb"
)

// The replies of many nodes are joined without being decoded (contract section 1.9). What this relies on, and a test of
// package api holds for every method that is joined:
//
//	message XResponse { repeated X messages = 1; }      the reply of a unary method
//	message X { common.Metadata metadata = 1; … }       and each message of a stream
//
// Two encoded XResponse after each other are the encoding of an XResponse with the messages of both. A field that comes
// again after an X, of a message type, is merged with what X had (protobuf encoding guide, "Last One Wins"): so a node's
// name is added to what is already in an X's metadata.

// fieldOne is the number of both messages and metadata.
const fieldOne protowire.Number = 1

var errShape = errors.New("the node's reply has not the shape that joining needs")

// hostStamp is the encoding of X { metadata { hostname } }.
func hostStamp(host string) []byte { return metadataField(&commonpb.Metadata{Hostname: host}) }

// failureStamp is the encoding of X { metadata { hostname, error, status } }: what a node that failed is in a stream.
//
// The error is the status's message on one line, so that a table has one row for a node. It takes less than reserved.
func failureStamp(host string, err error) []byte {
	p := status.Convert(err).Proto()

	// A status from the wire may have anything in its message; protobuf has no string that is not UTF-8.
	p.Message = strings.ToValidUTF8(p.GetMessage(), "?")
	if len(p.GetMessage()) > maxReason {
		p.Message = strings.ToValidUTF8(p.GetMessage()[:maxReason], "") + "…"
	}

	if proto.Size(p) > len(p.GetMessage())+maxDetails {
		p.Details = nil
	}

	reason := oneLine(plain(p.GetMessage()))
	if reason == "" {
		reason = codes.Code(p.GetCode()).String()
	}

	return metadataField(&commonpb.Metadata{Hostname: host, Error: reason, Status: p})
}

// oneLine makes a text fit for a row of a table on a terminal.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })

	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}

		return r
	}, strings.Join(lines, "; "))
}

func metadataField(md *commonpb.Metadata) []byte {
	content, err := proto.Marshal(md)
	if err != nil { // only details of a broken kind could do that
		md.Status.Details = nil
		content, _ = proto.Marshal(md)
	}

	out := protowire.AppendTag(make([]byte, 0, len(content)+6), fieldOne, protowire.BytesType)

	return protowire.AppendBytes(out, content)
}

// asReply turns the encoding of an X into that of XResponse { messages: [X] }.
func asReply(x []byte) []byte {
	out := protowire.AppendTag(make([]byte, 0, len(x)+6), fieldOne, protowire.BytesType)

	return protowire.AppendBytes(out, x)
}

// stampedSize returns the size in bytes of what appendStamped appends. It fails if the reply is not one that can be joined:
// then it would spoil the replies of all nodes.
//
// Every X is walked through too, since what follows a field that is cut off would become a part of it. What is inside an X's
// fields is not looked at.
func stampedSize(reply, stamp []byte) (int, error) {
	size, messages := 0, 0

	for rest := reply; len(rest) > 0; {
		f, err := nextField(rest)
		if err != nil {
			return 0, err
		}

		rest = rest[f.size:]

		if f.number != fieldOne {
			size += f.size

			continue
		}

		if f.kind != protowire.BytesType {
			return 0, fmt.Errorf("%w: field 1 is no message", errShape)
		}

		if err := checkMessage(f.content); err != nil {
			return 0, err
		}

		size += protowire.SizeTag(fieldOne) + protowire.SizeBytes(len(f.content)+len(stamp))
		messages++
	}

	if messages == 0 { // the node would not be seen at all
		size += protowire.SizeTag(fieldOne) + protowire.SizeBytes(len(stamp))
	}

	return size, nil
}

// appendStamped appends the reply to dst with the stamp in each of its messages. A reply without any gets one with nothing
// but the stamp. The reply must have passed stampedSize.
func appendStamped(dst, reply, stamp []byte) []byte {
	messages := 0

	for rest := reply; len(rest) > 0; {
		f, err := nextField(rest)
		if err != nil {
			return dst
		}

		if f.number == fieldOne {
			dst = protowire.AppendTag(dst, fieldOne, protowire.BytesType)
			dst = protowire.AppendVarint(dst, uint64(len(f.content)+len(stamp)))
			dst = append(dst, f.content...)
			dst = append(dst, stamp...)
			messages++
		} else {
			dst = append(dst, rest[:f.size]...)
		}

		rest = rest[f.size:]
	}

	if messages == 0 {
		dst = append(dst, asReply(stamp)...)
	}

	return dst
}

// checkMessage reports whether b is a sequence of whole fields.
func checkMessage(b []byte) error {
	for len(b) > 0 {
		f, err := nextField(b)
		if err != nil {
			return err
		}

		if f.number == fieldOne && f.kind != protowire.BytesType {
			return fmt.Errorf("%w: metadata is no message", errShape)
		}

		b = b[f.size:]
	}

	return nil
}

type field struct {
	number  protowire.Number
	kind    protowire.Type
	size    int    // of tag and value
	content []byte // for BytesType
}

func nextField(b []byte) (field, error) {
	number, kind, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		return field{}, fmt.Errorf("%w: %w", errShape, protowire.ParseError(tag))
	}

	// ConsumeTag takes larger numbers; those who decode the reply do not.
	if number > protowire.MaxValidNumber {
		return field{}, fmt.Errorf("%w: field number %d", errShape, number)
	}

	f := field{number: number, kind: kind}

	n := protowire.ConsumeFieldValue(number, kind, b[tag:])
	if n < 0 {
		return field{}, fmt.Errorf("%w: %w", errShape, protowire.ParseError(n))
	}

	f.size = tag + n

	if kind == protowire.BytesType {
		f.content, _ = protowire.ConsumeBytes(b[tag:])
	}

	return f, nil
}
