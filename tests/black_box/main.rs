//! Black box: the shipped programs against real peers, one module per promise.

#[cfg(test)]
mod formats;
#[cfg(test)]
mod rules;
