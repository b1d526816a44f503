//! One input in pieces, as reads from a socket would have it. Where it is cut follows from the bytes, so that an
//! input is nothing but the text that it feeds, and always cut the same.

/// All of `data`, in pieces of 1 to 24 bytes, some of them empty.
pub fn cut(data: &[u8]) -> Vec<&[u8]> {
    // FNV-1a: each byte counts.
    let seed = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut state = seed | 1;
    let (mut rest, mut pieces) = (data, Vec::new());
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Mostly short ones: what is read wrongly is a line that comes in two.
        let longest = if state % 4 == 0 { 24 } else { 5 };
        let size = usize::try_from((state >> 8) % (longest + 1)).unwrap_or(1).min(rest.len());
        let (piece, after) = rest.split_at(size);
        pieces.push(piece);
        rest = after;
    }
    pieces
}
