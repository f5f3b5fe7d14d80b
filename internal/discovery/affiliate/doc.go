// Package affiliate is what one machine tells the others of its cluster through a discovery service, and how it is sealed
// so that the service learns nothing but how much of it there is.
//
// # Format
//
// A [Payload] is a sidero.discovery.client.Affiliate, sealed with AES-256-GCM under the cluster's secret: 12 random bytes
// of nonce, then ciphertext and tag. That is the published format, so published clients read what we write and the other
// way round. What we add is one field of that message with a number from protobuf's private range ([extensionField]); who
// does not know it skips it. It holds a [Kind], a [Version], the endpoints, and padding to a multiple of 128 bytes.
//
// The service is not trusted. It could deliver one machine's data as another's, or old data as new: so [Key.Open] wants
// the machine's id inside of the seal to be the one outside, and readers compare versions.
//
// # Endpoints
//
// Published clients send endpoints beside the sealed data, each encrypted with AES-ECB so that equal ones look equal to the
// service, which can then merge them. It also lets anybody who sees the service's memory learn which machines share an
// address and when one moves. We send endpoints inside of the seal only, and read both forms. So in a cluster of mixed
// machines on the public service, published ones do not learn endpoints of ours from discovery; they still learn addresses.
// ECB has no authentication: an endpoint that came this way is a hint where a peer may be tried, no more.
//
// The package has no clock and does no input or output. Package discovery and who gives it data import it.
package affiliate
