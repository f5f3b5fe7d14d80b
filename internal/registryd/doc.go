// Package registryd reads image caches, and serves their images to a node's containerd: the reading half of the OCI distribution
// API. Package imagecache makes caches.
//
// # The two forms of a cache
//
// An OCI image layout: index.json names each image by its full reference, blobs/sha256/HEX has everything else. It is what this
// tree builds and what other tools read. A flat cache has no index that all writers share, so that folders can be put together by
// copying, and any web server could serve it:
//
//	blob/sha256-HEX                                        layers and configs
//	manifests/REGISTRY/REPOSITORY/reference/TAG            what a tag means: a manifest or an index
//	manifests/REGISTRY/REPOSITORY/digest/sha256-HEX        each manifest and index, by digest
//
// A registry with a port, HOST:PORT, is HOST_PORT_. A directory may have both forms at once. Of an index, a cache may have only the
// manifests of some platforms.
//
// # Serving
//
// containerd asks the node's server first, as a mirror of every registry: the query ns names the registry that is meant. What the
// cache does not have is a 404, and containerd goes on to the next mirror. What it has is compared with its digest before the first
// byte is sent, once for each file as long as it does not change: a blob that is cut or altered is a 404 too, with the reason, so
// that the next source is asked instead of a broken image being taken.
//
// The server asks for no credentials and writes nothing. Which caches there are is said by its owner.
package registryd
