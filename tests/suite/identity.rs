//! Identity from wherever an IdP tells it.
