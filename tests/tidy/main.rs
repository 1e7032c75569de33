//! Tidy: what the whole tree promises, checked as data: arrows between crates, headers,
//! lengths, lints, and that every rule of the standards is cited by a test.

#[cfg(test)]
mod arrows;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod sources;
