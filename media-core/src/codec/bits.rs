//! Bits: a checked reader of big-endian bits and exp-Golomb numbers (ITU-T H.264 s9.1).
//!
//! Limits: a read past the end or an exp-Golomb number of more than 32 bits is an error, so every
//! parser on top of it ends.

/// Why bits could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitError {
    /// The data ends before the field does.
    #[error("data of {len_bits} bits ends inside a field at bit {at_bit}")]
    EndOfData {
        /// Where the field begins.
        at_bit: usize,
        /// How many bits there are.
        len_bits: usize,
    },
    /// More than 31 leading zeros.
    #[error("exp-golomb number at bit {at_bit} does not fit 32 bits")]
    GolombTooLong {
        /// Where the number begins.
        at_bit: usize,
    },
}

/// Reads bits from the front of a slice.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    data: &'a [u8],
    at_bit: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at_bit: 0 }
    }

    /// Bits not read yet.
    pub fn remaining_bits(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.at_bit)
    }

    fn end(&self) -> BitError {
        BitError::EndOfData { at_bit: self.at_bit, len_bits: self.data.len() * 8 }
    }

    /// One bit.
    ///
    /// # Errors
    /// [`BitError::EndOfData`].
    pub fn flag(&mut self) -> Result<bool, BitError> {
        let byte = self.data.get(self.at_bit / 8).ok_or_else(|| self.end())?;
        let bit = byte >> (7 - self.at_bit % 8) & 1;
        self.at_bit += 1;
        Ok(bit == 1)
    }

    /// An unsigned number of `count` bits, at most 32 (more reads 32).
    ///
    /// # Errors
    /// [`BitError::EndOfData`].
    pub fn bits(&mut self, count: u32) -> Result<u32, BitError> {
        let count = count.min(32);
        if self.remaining_bits() < usize::try_from(count).unwrap_or(usize::MAX) {
            return Err(self.end());
        }
        let mut value = 0_u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// An unsigned number of `count` bits, at most 8 (more keeps the low 8).
    ///
    /// # Errors
    /// [`BitError::EndOfData`].
    pub fn bits_u8(&mut self, count: u32) -> Result<u8, BitError> {
        Ok(u8::try_from(self.bits(count)? & 0xff).unwrap_or(0))
    }

    /// Passes over `count` bits.
    ///
    /// # Errors
    /// [`BitError::EndOfData`].
    pub fn skip(&mut self, count: usize) -> Result<(), BitError> {
        if self.remaining_bits() < count {
            return Err(self.end());
        }
        self.at_bit += count;
        Ok(())
    }

    /// `ue(v)`: an unsigned exp-Golomb number.
    ///
    /// # Errors
    /// [`BitError`].
    pub fn ue(&mut self) -> Result<u32, BitError> {
        let at_bit = self.at_bit;
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(BitError::GolombTooLong { at_bit });
            }
        }
        // 2^zeros - 1 + rest, at most 2^32 - 2.
        Ok(((1_u32 << zeros) - 1).saturating_add(self.bits(zeros)?))
    }

    /// `se(v)`: a signed exp-Golomb number.
    ///
    /// # Errors
    /// [`BitError`].
    pub fn se(&mut self) -> Result<i32, BitError> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        let value = if code % 2 == 1 { magnitude } else { -magnitude };
        Ok(i32::try_from(value).unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_of_the_standards_table_9_2_are_read() {
        // 1 010 011 00100 00101 00110 00111 0001000: codes 0 to 7 in a row.
        let data = [0b1010_0110, 0b0100_0010, 0b1001_1000, 0b1110_0010, 0b0000_0000];
        let mut bits = BitReader::new(&data);
        let codes: Vec<u32> = (0..8).map(|_| bits.ue().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
        let mut bits = BitReader::new(&data);
        let codes: Vec<i32> = (0..8).map(|_| bits.se().unwrap()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2, 3, -3, 4]);
    }

    #[test]
    fn reading_past_the_end_is_an_error_with_its_place() {
        let mut bits = BitReader::new(&[0xff]);
        assert_eq!(bits.bits(6), Ok(0x3f));
        assert_eq!(bits.bits(3), Err(BitError::EndOfData { at_bit: 6, len_bits: 8 }));
        assert_eq!(bits.bits(2), Ok(3));
        assert!(bits.flag().is_err());
        assert!(BitReader::new(&[]).ue().is_err());
        assert_eq!(BitReader::new(&[0; 8]).ue(), Err(BitError::GolombTooLong { at_bit: 0 }));
    }
}
