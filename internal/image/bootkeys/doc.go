// Package bootkeys has the keys of Secure Boot and of measured boot, as files in a folder: it makes them, and reads them when images are
// built.
//
//	uki-signing-key.pem, uki-signing-cert.pem, uki-signing-cert.der   sign boot loader and unified kernel images
//	pcr-signing-key.pem                                               signs what PCR 11 will be: see package pcrsig
//	PK.auth, KEK.auth, db.auth                                        what firmware enrols; *.esl is the same without signature
//
// Private keys are not encrypted: the folder is to be kept like any secret. Nothing here reads a clock or touches a file but [Load].
package bootkeys
