// A matrix in panels, and where its product with x goes.
#pragma once

#include "panels.h"
#include "vector.h"

namespace course {

struct Product {
  const Panels* w;    // [N, K]
  const float* bias;  // [N], or null
  float* y;           // [M, N], contiguous
  bool add;           // to what y holds
};

// Writes a token's products with a panel's 16 rows to their place.
inline void finish_row(const Product& to, int panel, int token, const float* row) {
  const int first = panel * PANEL_ROWS, N = to.w->rows(), present = N - first;
  float* y = to.y + static_cast<size_t>(token) * N + first;
  if (present >= PANEL_ROWS) {
    for (int i = 0; i < PANEL_ROWS; i += LANES) {
      Floats product = load(row + i);
      if (to.bias != nullptr) product += load(to.bias + first + i);
      if (to.add) product += load(y + i);
      store(y + i, product);
    }
    return;
  }
  for (int i = 0; i < present; i++) {
    const float product = to.bias == nullptr ? row[i] : row[i] + to.bias[first + i];
    y[i] = to.add ? product + y[i] : product;
  }
}

}  // namespace course
