//! AWS Secrets Manager and the Parameter Store of Systems Manager, for references in settings.
//!
//! Two actions are all that is needed, `GetSecretValue` and `GetParameter`, so the SDK is not linked: requests are signed by
//! `object_store`, which also finds the credentials: access keys, a web identity (EKS), a container (ECS, EKS pod
//! identity), or the instance (IMDSv2).
//!
//! A parameter is always asked for decrypted: without that the store answers with its ciphertext, and a client that does
//! not look takes it for the password.

mod client;
mod service;

pub use client::{Aws, AwsError};
