// The number of a token: shared by the model, which computes with it, and the text layer, which spells it.
#ifndef INLAY_CORE_TOKEN_HPP_
#define INLAY_CORE_TOKEN_HPP_

#include <cstdint>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// An index into the vocabulary. Signed, as in every file format that stores one, so that -1 can say "none".
using TokenId = std::int32_t;

inline constexpr TokenId kNoToken = -1;

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_TOKEN_HPP_
