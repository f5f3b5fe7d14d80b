package reference

import (
	"reflect"

	"talos.internal/config/expr"
	"talos.internal/config/scalar"
)

// known is the JSON Schema of the scalars that all documents share. Patterns are necessary conditions: what the parser
// accepts matches, but not all that matches is accepted.
var known = map[reflect.Type]map[string]any{
	reflect.TypeFor[scalar.Duration](): {
		"type":    []string{"string", "integer"},
		"pattern": `^[-+]?(0|([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+)$`,
		"minimum": 0, "maximum": 0, // 0 is the one number that is a duration without a unit
	},
	reflect.TypeFor[scalar.Size]():  pattern(`^\s*[0-9]*\.?[0-9]*\s*([kKmMgGtTpP][iI]?)?[bB]?\s*$`, "string", "number"),
	reflect.TypeFor[scalar.Limit](): pattern(`^\s*-?\s*[0-9]*\.?[0-9]*\s*(%|([kKmMgGtTpP][iI]?)?[bB]?)\s*$`, "string", "number"),

	reflect.TypeFor[scalar.Addr]():         pattern(`^[0-9a-fA-F.:]+$`, "string"),
	reflect.TypeFor[scalar.Prefix]():       pattern(`^[0-9a-fA-F.:]+/[0-9]+$`, "string"),
	reflect.TypeFor[scalar.Subnet]():       pattern(`^!?[0-9a-fA-F.:]+/[0-9]+$`, "string"),
	reflect.TypeFor[scalar.AddrPort]():     pattern(`^.+:[0-9]+$`, "string"),
	reflect.TypeFor[scalar.HostPort]():     pattern(`^.+:[0-9]+$`, "string"),
	reflect.TypeFor[scalar.HardwareAddr](): pattern(`^[0-9a-fA-F.:-]+$`, "string"),

	reflect.TypeFor[scalar.URL]():       pattern(`^[a-zA-Z][a-zA-Z0-9+.-]*://`, "string"),
	reflect.TypeFor[scalar.HTTPSURL]():  pattern(`^[hH][tT][tT][pP][sS]://`, "string"),
	reflect.TypeFor[scalar.HTTPURL]():   pattern(`^[hH][tT][tT][pP][sS]?://`, "string"),
	reflect.TypeFor[scalar.StreamURL](): pattern(`^([tT][cC][pP]|[uU][dD][pP])://.+:[0-9]+`, "string"),
	reflect.TypeFor[scalar.Endpoint]():  pattern(`^([hH][tT][tT][pP][sS]?|[gG][rR][pP][cC])://`, "string"),

	reflect.TypeFor[scalar.Image]():       pattern(`^[^\s]+$`, "string"),
	reflect.TypeFor[scalar.Base64]():      pattern(`^[A-Za-z0-9+/=\s]*$`, "string"),
	reflect.TypeFor[scalar.CertPEM]():     pattern(`-----BEGIN CERTIFICATE-----`, "string"),
	reflect.TypeFor[scalar.KeyPEM]():      pattern(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----`, "string"),
	reflect.TypeFor[scalar.EncodedCert](): pattern(`^[A-Za-z0-9+/=\s]*$`, "string"),
	reflect.TypeFor[scalar.EncodedKey]():  pattern(`^[A-Za-z0-9+/=\s]*$`, "string"),

	reflect.TypeFor[expr.DiskSelector]():   oneOfTypes("string", "boolean"),
	reflect.TypeFor[expr.VolumeSelector](): oneOfTypes("string", "boolean"),
	reflect.TypeFor[expr.LinkSelector]():   oneOfTypes("string", "boolean"),
	reflect.TypeFor[expr.OOMTrigger]():     oneOfTypes("string", "boolean"),
	reflect.TypeFor[expr.CgroupRanking]():  oneOfTypes("string", "number"),

	reflect.TypeFor[scalar.Object]():    oneOfTypes("object"),
	reflect.TypeFor[scalar.PortRange](): pattern(`^[0-9]+(-[0-9]+)?$`, "string", "integer"),
	reflect.TypeFor[scalar.ArgValues](): {
		"type":  []string{"string", "number", "boolean", "array"},
		"items": oneOfTypes("string", "number", "boolean"),
	},
}

// pattern returns the schema of values of the given types whose text, where they are strings, matches expression.
func pattern(expression string, types ...string) map[string]any {
	m := map[string]any{"pattern": expression}
	if len(types) == 1 {
		m["type"] = types[0]
	} else {
		m["type"] = types
	}
	return m
}
