// The integer recipe on stacks of convolutions, as a fast program to search with: why does a deep
// depthwise stack without normalisation train worse in int8? Plain options give the reference's bytes
// (check.py compares). Products are summed in doubles, exact below 2^53.
//
//   cc -O3 -march=native -ffast-math -o depthwise depthwise.c -lm
//   ./depthwise DIGITS NET KIND SEED [option=value ...]
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef int64_t I;
typedef uint32_t U;
#define BS 32
#define MAXC 64

// ---------------------------------------------------------------- options
static struct {
    int ma, me, mw, r, mb;      // bits of activations, errors, weights; residual; bias
    int flt;                    // the float twin
    int mask, only;             // ReLU's test: 0 on the rounded y, 1 on the accumulator, 2 lifted: a positive y is at least 1; only: in depthwise layers
    int wpc;                    // weight exponent per output channel: 0 no, 1 depthwise, 2 every layer but the head
    int apc;                    // activation exponent per channel: 1 what a depthwise layer reads, 2 every convolution's output
    int epc;                    // error exponent per channel: 1 what a depthwise layer receives, 2 every convolution's
    int adw;                    // bits of a depthwise layer's output (0: ma)
    int ain;                    // bits of what a depthwise layer reads (0: ma)
    int edw, ein;               // bits of errors: at a depthwise output, at its input
    int ahead, ehead;           // headroom bits of activation, error states
    int patience, sre;          // shrink after; stochastic errors
    int epochs, lrm, lre, diag, renorm;
    int wdwb;                   // weight bits of depthwise layers (0: mw)
    int srf;                    // stochastic rounding forward
    int hash;
    int clipg;                  // saturated outputs pass no error
    int at;                     // options named x:option=value take effect from this step
    int tofloat, e15, a15;      // ... the float twin goes on from here; errors / activations get 8 bits more
} O;

// ---------------------------------------------------------------- primitives
static inline U mix32(U x) { x ^= x >> 16; x *= 0x7FEB352Du; x ^= x >> 15; x *= 0x846CA68Bu; return x ^ x >> 16; }
static inline U key(U seed, U stream, U step) { return mix32(mix32(seed + stream * 0x9E3779B9u) + step * 0x85EBCA6Bu); }
static inline U word(U k, U i) { return mix32(k + i * 0x9E3779B9u); }
static inline int bit_len(I m) { return m ? 64 - __builtin_clzll(m) : 0; }
static inline I sat(I x, int b) { I q = ((I)1 << b) - 1; return x > q ? q : x < -q ? -q : x; }
static inline I shl_sat(I x, int k) { if (k > 62) k = 62; I l = (((I)1 << 62) - 1) >> k; x = x > l ? l : x < -l ? -l : x; return x * ((I)1 << k); }
static inline I rne(I x, int s) {
    if (s <= 0) return shl_sat(x, -s);
    if (s > 62) return 0;
    I t = x >> s, r = x - (t << s), h = (I)1 << (s - 1);
    return t + (r > h || (r == h && (t & 1)));
}
static inline I sr(I x, int s, U u) {
    if (s <= 0) return shl_sat(x, -s);
    if (s > 32) { int k = s - 32 > 62 ? 62 : s - 32; x >>= k; s = 32; }
    return (x + (I)((uint64_t)u >> (32 - s))) >> s;
}
static I isqrt_(unsigned __int128 n) { unsigned __int128 r = 0, b; for (b = (unsigned __int128)1 << 62; b; b >>= 1) if ((r | b) * (r | b) <= n) r |= b; return (I)r; }
static I EXP2[65];
static I exp2_neg(I t) { if (t > 31 << 16) t = 31 << 16; int n = t >> 16, f = t & 0xFFFF, i = f >> 10, r = f & 1023; return (EXP2[i] - (((EXP2[i] - EXP2[i + 1]) * r + 512) >> 10)) >> n; }

// ---------------------------------------------------------------- layers
typedef struct { int set, e, low, want; long grows; } State;
enum { CONV, AVG, MAXP };
typedef struct {
    int kind, num, ci, co, k, st, pad, g, relu, head, below;
    int H, W, oh, ow, nw, mw, r;
    I *m, *b, *v; int we[MAXC], be_, *q8;
    double *w, *wT, *gT, *gb;            // weights as the kernels read them, (k, k, ci/g, co); gradients
    double *fw, *fb;                     // float twin's weights and biases (layout of m)
    State fs[MAXC], es[MAXC];
    double *y, *acc, *dx, *dacc; uint8_t *mask; int ey[MAXC], ed[MAXC], ea[MAXC];
    int *arg;
    long n_y, n_flush, n_sat, n_e, n_ezero, n_esat; // statistics of an epoch
    int wgrow;
} L;
static L net[64]; static int nl;
static U seed, step_;
static double *xin; static int ex_in[MAXC];
static int is_dw(L *l) { return l->kind == CONV && l->g > 1; }

static void add_conv(int ci, int co, int k, int pad, int st, int g, int relu) { L *l = &net[nl++]; memset(l, 0, sizeof *l); l->kind = CONV; l->ci = ci; l->co = co; l->k = k; l->pad = pad; l->st = st; l->g = g; l->relu = relu; }
static void add_pool(int kind) { L *l = &net[nl++]; memset(l, 0, sizeof *l); l->kind = kind; }
#define NEW(n) calloc((n), 8)

static void build(int H, int C) {
    int below = 0, W = H;
    for (int i = 0; i < nl; i++) {
        L *l = &net[i];
        l->H = H; l->W = W; l->below = below;
        l->num = i + (i && l->kind == CONV && net[i - 1].kind == MAXP && l->k == 0);     // a flatten counts
        if (l->kind == CONV && l->k == 0) { l->k = 1; l->ci = H * W * C; l->H = l->W = H = W = 1; C = l->ci; }  // dense
        if (l->kind == AVG) { l->ci = l->co = C; l->oh = l->ow = 1; }
        if (l->kind == MAXP) { l->ci = l->co = C; l->oh = H / 2; l->ow = W / 2; }
        if (l->kind == CONV) {
            l->oh = l->ow = (H + 2 * l->pad - l->k) / l->st + 1;
            l->head = i == nl - 1;
            l->mw = O.mw; l->r = O.r;
            if (is_dw(l) && O.wdwb) { l->mw = O.wdwb; l->r = O.wdwb > 7 ? 0 : 8; }
            int fan = l->k * l->k * l->ci / l->g, num = l->relu || l->head ? 6 : 3, e = 0;
            l->nw = l->co * fan;
            I q = ((I)1 << l->mw) - 1;
            while ((((__int128)num) << (-2 * (e - 1))) <= (__int128)fan * q * q) e--;
            I lim = q << l->r, mag = isqrt_((((unsigned __int128)num) << (2 * (l->r - e))) / fan);
            if (mag > lim) mag = lim;
            l->m = NEW(l->nw); l->v = NEW(l->nw); l->b = NEW(l->co); l->w = NEW(l->nw); l->wT = NEW(l->nw); l->gT = NEW(l->nw); l->gb = NEW(l->co); l->fw = NEW(l->nw); l->fb = NEW(l->co);
            U k = key(seed, 16 * (l->num + 1), 0);
            for (int j = 0; j < l->nw; j++) {
                I u = word(k, j);
                l->m[j] = (mag <= 32767 ? ((u >> 16) * (2 * mag + 1)) >> 16 : (I)(((unsigned __int128)u * (2 * mag + 1)) >> 32)) - mag;
                l->fw[j] = l->m[j] * ldexp(1, e - l->r);
            }
            for (int o = 0; o < l->co; o++) l->we[o] = e;
            l->be_ = e - (O.mb - l->mw);
            below = 1;
        }
        H = l->oh; W = l->ow; C = l->co;
        int n = 2048 * 0 + BS * H * W * C, ni = BS * l->H * l->W * l->ci;
        l->y = NEW(n); l->acc = NEW(n); l->mask = calloc(n, 1); l->arg = calloc(n, 4); l->dx = NEW(ni); l->dacc = NEW(ni);
    }
}

// out[b, y, x, o] += sum; wT: (k, k, ci/g, co). mode 0 forward, 1 input gradient, 2 weight gradient
static void conv(L *l, int nb, const double *x, double *out, const double *d, double *dx, int mode) {
    int k = l->k, C = l->ci, N = l->co, dw = is_dw(l);
    for (int b = 0; b < nb; b++) for (int i = 0; i < l->oh; i++) for (int j = 0; j < l->ow; j++) {
        long p = ((long)b * l->oh + i) * l->ow + j;
        double *yo = out + p * N; const double *dd = d + p * N;
        for (int a = 0; a < k; a++) for (int c = 0; c < k; c++) {
            int r = i * l->st + a - l->pad, s = j * l->st + c - l->pad;
            if (r < 0 || r >= l->H || s < 0 || s >= l->W) continue;
            long xo = (((long)b * l->H + r) * l->W + s) * C;
            if (dw) {
                const double *xx = x + xo, *w = l->wT + (a * k + c) * N; double *g = l->gT + (a * k + c) * N, *dxx = dx + xo;
                if (mode == 0) for (int o = 0; o < N; o++) yo[o] += xx[o] * w[o];
                else if (mode == 1) for (int o = 0; o < N; o++) dxx[o] += dd[o] * w[o];
                else for (int o = 0; o < N; o++) g[o] += dd[o] * xx[o];
            } else for (int ch = 0; ch < C; ch++) {
                const double *w = l->wT + ((long)(a * k + c) * C + ch) * N; double *g = l->gT + ((long)(a * k + c) * C + ch) * N;
                if (mode == 1) { double t = 0; for (int o = 0; o < N; o++) t += dd[o] * w[o]; dx[xo + ch] += t; continue; }
                double v = x[xo + ch];
                if (v == 0) continue;
                if (mode == 0) for (int o = 0; o < N; o++) yo[o] += v * w[o];
                else for (int o = 0; o < N; o++) g[o] += v * dd[o];
            }
        }
    }
}
// master layout (o, a, c, ch) <-> wT layout (a, c, ch, o)
static inline int wt(L *l, int j) { int per = l->nw / l->co; return (j % per) * l->co + j / per; }
static void weights(L *l, const double *src) { for (int j = 0; j < l->nw; j++) l->wT[wt(l, j)] = src[j]; }
static void quantised(L *l) { for (int j = 0; j < l->nw; j++) l->w[j] = l->r ? (double)((l->m[j] + ((I)1 << (l->r - 1))) >> l->r) : (double)l->m[j]; weights(l, l->w); }

// requantise n/C rows of C channels; e_acc per channel; per: one state per channel
static void requant(State *st, int per, const double *acc, const int *ea, double *out, int *eo, long n, int C, int bits, int train, int head, int err, U k, L *l) {
    I mx[MAXC]; double top[MAXC] = {0};
    for (long i = 0; i < n; i += C) for (int c = 0; c < C; c++) { double v = fabs(acc[i + c]); top[c] = v > top[c] ? v : top[c]; }
    for (int c = 0; c < C; c++) mx[c] = (I)top[c];
    int nst = per ? C : 1;
    for (int s = 0; s < nst; s++) {
        int want = -1000000, any = 0;
        for (int c = per ? s : 0; c < (per ? s + 1 : C); c++) if (mx[c]) { int w = ea[c] + bit_len(mx[c]) - bits + head; if (w > want) want = w; any = 1; }
        int use = st[s].set ? st[s].e : any ? want : ea[per ? s : 0];
        for (int c = per ? s : 0; c < (per ? s + 1 : MAXC); c++) eo[c] = use;
        st[s].want = want;
        if (train && any) {
            if (!st[s].set) { st[s].set = 1; st[s].e = want; st[s].low = 0; }
            if (want > st[s].e) { st[s].e = want; st[s].low = 0; st[s].grows++; }
            else if (want < st[s].e) { if (++st[s].low >= O.patience) { st[s].e--; st[s].low = 0; } }
            else st[s].low = 0;
        }
    }
    // the shifts with rounding in doubles: exact here
    double lim = ldexp(1, bits) - 1, f[MAXC], fu[MAXC]; int sh[MAXC], stoch = err ? O.sre : O.srf;
    for (int c = 0; c < C; c++) { int t = eo[c] - ea[c]; f[c] = ldexp(1, -t); sh[c] = t <= 0 || t > 32 ? 32 : 32 - t; fu[c] = t <= 0 || t > 32 ? 0 : f[c]; if (t > 32) { fprintf(stderr, "shift\n"); exit(1); } }
    for (long i = 0; i < n; i += C) {
        if (stoch) for (int c = 0; c < C; c++) { U u = sh[c] == 32 ? 0 : word(k, i + c) >> sh[c]; double q = floor(acc[i + c] * f[c] + u * fu[c]); out[i + c] = q > lim ? lim : q < -lim ? -lim : q; }
        else for (int c = 0; c < C; c++) { double q = nearbyint(acc[i + c] * f[c]); out[i + c] = q > lim ? lim : q < -lim ? -lim : q; }
    }
    if (l && train && O.diag) for (long i = 0; i < n; i++) if (acc[i] != 0) {
        int clip = fabs(acc[i] * f[i % C]) > lim + 1;
        if (err) l->n_e++, l->n_ezero += out[i] == 0, l->n_esat += clip; else l->n_y++, l->n_flush += out[i] == 0, l->n_sat += clip;
    }
}

static int reads_dw(int i) { return i + 1 < nl && is_dw(&net[i + 1]); }
// exponent of aligned operands: scale v (rows of C) so that all channels have the exponent returned
static double *alignbuf;
static int align(const double *v, const int *e, long n, int C, const double **out) {
    int lo = e[0], same = 1;
    for (int c = 1; c < C; c++) { if (e[c] != lo) same = 0; if (e[c] < lo) lo = e[c]; }
    if (same) { *out = v; return lo; }
    for (long i = 0; i < n; i++) alignbuf[i] = v[i] * ldexp(1, e[i % C] - lo);
    *out = alignbuf;
    return lo;
}

static double *forward(int nb, double *x, const int *ex, int train, int *eout) {
    int e[MAXC]; memcpy(e, ex, sizeof e);
    for (int i = 0; i < nl; i++) {
        L *l = &net[i];
        long n = (long)nb * l->oh * l->ow * l->co;
        if (l->kind == MAXP) {
            for (long p = 0; p < n; p++) {
                int c = p % l->co, j = p / l->co % l->ow, r = p / l->co / l->ow % l->oh, b = p / l->co / l->ow / l->oh; long at = -1;
                for (int a = 0; a < 2; a++) for (int d = 0; d < 2; d++) { long t = (((long)b * l->H + 2 * r + a) * l->W + 2 * j + d) * l->ci + c; if (at < 0 || x[t] > x[at]) at = t; }
                l->y[p] = x[at]; l->arg[p] = at;
            }
            x = l->y; memcpy(l->ey, e, sizeof e); continue;
        }
        memset(l->acc, 0, n * 8);
        if (l->kind == AVG) {
            int hw = l->H * l->W;
            for (int b = 0; b < nb; b++) for (int p = 0; p < hw; p++) for (int c = 0; c < l->co; c++) l->acc[b * l->co + c] += x[((long)b * hw + p) * l->co + c];
            int sh = 15 + bit_len(hw - 1); I f = (((I)1 << sh) + hw / 2) / hw;
            if (O.flt) { for (long p = 0; p < n; p++) l->y[p] = l->acc[p] / hw; x = l->y; continue; }
            for (long p = 0; p < n; p++) l->acc[p] *= f;
            for (int c = 0; c < l->co; c++) l->ea[c] = e[c] - sh;
            requant(l->fs, 0, l->acc, l->ea, l->y, l->ey, n, l->co, O.ma, train, O.ahead, 0, 0, 0);
            x = l->y; memcpy(e, l->ey, sizeof e); continue;
        }
        if (O.flt) {
            weights(l, l->fw);
            conv(l, nb, x, l->acc, 0, 0, 0);
            for (long p = 0; p < n; p += l->co) for (int c = 0; c < l->co; c++) { double a = l->acc[p + c] + l->fb[c]; l->y[p + c] = l->relu && a <= 0 ? 0 : a; }
            for (long p = 0; p < n; p++) l->mask[p] = !l->relu || l->y[p] > 0;
            x = l->y; continue;
        }
        quantised(l);
        const double *xx = x;
        if (is_dw(l)) for (int c = 0; c < l->co; c++) l->ea[c] = e[c] + l->we[c];
        else { int lo = align(x, e, (long)nb * l->H * l->W * l->ci, l->ci, &xx); for (int c = 0; c < l->co; c++) l->ea[c] = lo + l->we[c]; }
        conv(l, nb, xx, l->acc, 0, 0, 0);
        double bb[MAXC];
        for (int c = 0; c < l->co; c++) bb[c] = sat(rne(l->b[c], l->ea[c] - l->be_), O.ma == 7 && O.mw == 7 ? 30 : 50);
        for (long p = 0; p < n; p += l->co) for (int c = 0; c < l->co; c++) { double a = l->acc[p + c] + bb[c]; l->acc[p + c] = l->relu && a < 0 ? 0 : a; }
        for (long p = 0; p < n; p++) l->mask[p] = !l->relu || l->acc[p] > 0;
        int bits = l->head ? (O.ma > 15 ? O.ma : 15) : is_dw(l) && O.adw ? O.adw : reads_dw(i) && O.ain ? O.ain : O.ma;
        int per = l->head ? 0 : O.apc == 2 || (O.apc == 1 && reads_dw(i));
        requant(l->fs, per, l->acc, l->ea, l->y, l->ey, n, l->co, bits, train, l->head ? 0 : O.ahead, 0, O.srf ? key(seed, 16 * (l->num + 1) + 12, step_) : 0, l);
        int rule = O.only && !is_dw(l) ? 0 : O.mask;
        if (rule == 0 && l->relu) for (long p = 0; p < n; p++) l->mask[p] = l->y[p] > 0;
        if (O.clipg) { double lim = ldexp(1, bits) - 1; for (long p = 0; p < n; p++) if (l->y[p] >= lim) l->mask[p] = 0; }
        if (rule == 2 && l->relu) for (long p = 0; p < n; p++) if (l->mask[p] && l->y[p] == 0) l->y[p] = 1;     // what is positive stays positive
        x = l->y; memcpy(e, l->ey, sizeof e);
    }
    memcpy(eout, e, sizeof e);
    return x;
}

static void backward(int nb, double *d, const int *ed0, double *x0) {
    int ed[MAXC]; memcpy(ed, ed0, sizeof ed);
    for (int i = nl - 1; i >= 0; i--) {
        L *l = &net[i]; double *x = i ? net[i - 1].y : x0;
        long n = (long)nb * l->oh * l->ow * l->co, ni = (long)nb * l->H * l->W * l->ci;
        memset(l->dacc, 0, ni * 8);
        int e[MAXC];
        if (l->kind == MAXP) { for (long p = 0; p < n; p++) l->dacc[l->arg[p]] += d[p]; memcpy(l->dx, l->dacc, ni * 8); d = l->dx; continue; }
        if (l->kind == AVG) {
            int hw = l->H * l->W, sh = 15 + bit_len(hw - 1); double f = O.flt ? 1.0 / hw : (double)((((I)1 << sh) + hw / 2) / hw);
            for (long p = 0; p < ni; p++) l->dacc[p] = d[p / (hw * l->ci) * l->ci + p % l->ci] * f;
            if (O.flt) { memcpy(l->dx, l->dacc, ni * 8); d = l->dx; continue; }
            for (int c = 0; c < l->ci; c++) e[c] = ed[c] - sh;
            requant(l->es, 0, l->dacc, e, l->dx, ed, ni, l->ci, O.me, 1, O.ehead, 1, key(seed, 16 * (l->num + 1) + 8, step_), 0);
            d = l->dx; continue;
        }
        for (long p = 0; p < n; p++) if (!l->mask[p]) d[p] = 0;
        memset(l->gT, 0, l->nw * 8); memset(l->gb, 0, l->co * 8);
        // weight gradients: exponent ed[o] + ex[c] per weight, at the stored operands
        conv(l, nb, x, 0, d, 0, 2);
        for (long p = 0; p < n; p += l->co) for (int c = 0; c < l->co; c++) l->gb[c] += d[p + c];
        memcpy(l->ed, ed, sizeof ed);
        if (!l->below) return;
        if (O.flt) { conv(l, nb, 0, 0, d, l->dacc, 1); memcpy(l->dx, l->dacc, ni * 8); d = l->dx; continue; }
        const double *dd = d;
        if (is_dw(l)) for (int c = 0; c < l->ci; c++) e[c] = ed[c] + l->we[c];
        else { int t[MAXC]; for (int c = 0; c < l->co; c++) t[c] = ed[c] + l->we[c]; int lo = align(d, t, n, l->co, &dd); for (int c = 0; c < l->ci; c++) e[c] = lo; }
        conv(l, nb, 0, 0, dd, l->dacc, 1);
        int up = i ? is_dw(&net[i - 1]) : 0, conv_up = i && net[i - 1].kind == CONV;
        int per = (O.epc == 2 && conv_up) || (O.epc == 1 && up);
        int bits = up && O.edw ? O.edw : is_dw(l) && O.ein ? O.ein : O.me;
        if (l->ci > MAXC) { fprintf(stderr, "MAXC\n"); exit(1); }
        requant(l->es, per, l->dacc, e, l->dx, ed, ni, l->ci, bits, 1, O.ehead, 1, key(seed, 16 * (l->num + 1) + 8, step_), l);
        d = l->dx;
    }
}

static void update_one(I *m, I *v, I g, int e_g, int e, int lre, U u) {
    I G = g * O.lrm; int s = e - (e_g + lre);
    (void)v;
    *m -= sr(G, s, u);
}
static void update(int lre) {
    for (int i = 0; i < nl; i++) {
        L *l = &net[i]; if (l->kind != CONV) continue;
        if (O.flt) {
            double lr = O.lrm * ldexp(1, lre);
            for (int j = 0; j < l->nw; j++) l->fw[j] -= lr * l->gT[wt(l, j)];
            for (int c = 0; c < l->co; c++) l->fb[c] -= lr * l->gb[c];
            continue;
        }
        const int *ex = i ? net[i - 1].ey : ex_in;
        U k = key(seed, 16 * (l->num + 1), step_ + 1), kb = key(seed, 16 * (l->num + 1) + 1, step_ + 1);
        I lim = (((I)1 << l->mw) - 1) << l->r;
        int per = l->nw / l->co, cg = l->ci / l->g, grow[MAXC] = {0}, any = 0, pc = !l->head && (O.wpc == 2 || (O.wpc == 1 && is_dw(l)));
        for (int j = 0; j < l->nw; j++) {
            int o = j / per, c = is_dw(l) ? o : j % cg;
            update_one(&l->m[j], 0, (I)l->gT[wt(l, j)], l->ed[o] + (l->ci > MAXC || l->H == 1 ? ex[0] : ex[c]), l->we[o] - l->r, lre, word(k, j));
            if (l->m[j] > lim || l->m[j] < -lim) { grow[o] = 1; any = 1; }
        }
        for (int j = 0; j < l->nw; j++) {
            int o = j / per; I q = l->m[j];
            q = q > lim ? lim : q < -lim ? -lim : q;
            l->m[j] = (pc ? grow[o] : any) ? rne(q, 1) : q;
        }
        for (int o = 0; o < l->co; o++) if (pc ? grow[o] : any) { l->we[o]++; l->wgrow++; }
        if (O.renorm && pc) for (int o = 0; o < l->co; o++) {   // shrink where a channel uses under half of its range
            I mx = 0; for (int j = o * per; j < (o + 1) * per; j++) { I a = llabs(l->m[j]); if (a > mx) mx = a; }
            if (mx && mx * 4 < lim) { for (int j = o * per; j < (o + 1) * per; j++) l->m[j] *= 2; l->we[o]--; }
        }
        I bl = ((I)1 << O.mb) - 1; int bg = 0;
        for (int c = 0; c < l->co; c++) { update_one(&l->b[c], 0, (I)l->gb[c], l->ed[c], l->be_, lre, word(kb, c)); if (l->b[c] > bl || l->b[c] < -bl) bg = 1; }
        for (int c = 0; c < l->co; c++) { I q = l->b[c]; q = q > bl ? bl : q < -bl ? -bl : q; l->b[c] = bg ? rne(q, 1) : q; }
        l->be_ += bg;
    }
}

static State lossstate;
static double dl[BS * MAXC], loss_sum;
static void loss(int nb, const double *z, int ez, const int *y, int C, int *ed) {
    if (O.flt) {
        for (int b = 0; b < nb; b++) {
            double mx = -1e300, t = 0; for (int c = 0; c < C; c++) if (z[b * C + c] > mx) mx = z[b * C + c];
            for (int c = 0; c < C; c++) t += dl[b * C + c] = exp(z[b * C + c] - mx);
            for (int c = 0; c < C; c++) dl[b * C + c] = dl[b * C + c] / t;
            loss_sum -= log(dl[b * C + y[b]] + 1e-30); dl[b * C + y[b]] -= 1;
        }
        return;
    }
    double acc[BS * MAXC]; int ea[MAXC];
    for (int b = 0; b < nb; b++) {
        I mx = -1 << 30, num[MAXC], tot = 0;
        for (int c = 0; c < C; c++) if ((I)z[b * C + c] > mx) mx = (I)z[b * C + c];
        for (int c = 0; c < C; c++) {
            I t = (mx - (I)z[b * C + c]) * 23637; int s = ez + 2;
            if (s >= 0) { int k = s < 21 ? s : 21; I cap = ((I)31 << 16) >> k; t = t > cap ? (I)31 << 16 : t << k; } else t >>= -s < 31 ? -s : 31;
            tot += num[c] = exp2_neg(t);
        }
        for (int c = 0; c < C; c++) { acc[b * C + c] = (double)((num[c] * 32768 + (tot >> 1)) / tot); }
        loss_sum -= log((num[y[b]] + 1e-9) / (double)tot);
        acc[b * C + y[b]] -= 32768;
    }
    for (int c = 0; c < C; c++) ea[c] = -15;
    requant(&lossstate, 0, acc, ea, dl, ed, nb * C, C, O.me, 1, 0, 1, key(seed, 8, step_), 0);
}

// ---------------------------------------------------------------- measuring
static unsigned char *raw; static int NT = 1347, N = 1797;
static void load(int i, double *x) { for (int p = 0; p < 64; p++) { int v = raw[i * 65 + 1 + p] * 16; if (v > 255) v = 255; x[p] = O.flt ? v / 256.0 : O.ma == 7 ? v >> 1 : v << 7; } }
static int ein_bits(void) { return O.ma == 7 ? -7 : -15; }

static double cosine(const double *a, const double *b, int n, double *r) { double ab = 0, aa = 0, bb = 0; for (int i = 0; i < n; i++) { ab += a[i] * b[i]; aa += a[i] * a[i]; bb += b[i] * b[i]; } *r = sqrt(aa / (bb + 1e-300)); return ab / sqrt(aa * bb + 1e-300); }

// the float gradient at the same (rounded) weights, against the gradient just computed, per layer
static void compare(int nb, double *x, const int *y) {
    static double *g[64], *fx; if (!fx) fx = NEW(BS * 64);
    printf("    cosine, norm ratio:");
    for (int i = 0; i < nl; i++) { L *l = &net[i]; if (l->kind != CONV) continue;
        const int *ex = i ? net[i - 1].ey : ex_in; int per = l->nw / l->co, cg = l->ci / l->g;
        if (!g[i]) g[i] = NEW(l->nw);
        for (int j = 0; j < l->nw; j++) { int o = j / per, c = is_dw(l) ? o : j % cg; g[i][j] = l->gT[wt(l, j)] * ldexp(1, l->ed[o] + (l->H == 1 ? ex[0] : ex[c])); l->fw[j] = l->w[j] * ldexp(1, l->we[o]); }
        for (int c = 0; c < l->co; c++) l->fb[c] = l->b[c] * ldexp(1, l->be_); }
    static double *kg[64], *kb[64]; static int ke[64][MAXC];
    for (int i = 0; i < nl; i++) { L *l = &net[i]; if (l->kind != CONV) continue; if (!kg[i]) kg[i] = NEW(l->nw), kb[i] = NEW(l->co); memcpy(kg[i], l->gT, l->nw * 8); memcpy(kb[i], l->gb, l->co * 8); memcpy(ke[i], l->ed, sizeof ke[i]); }
    double ex = ldexp(1, ein_bits()); for (int p = 0; p < nb * 64; p++) fx[p] = x[p] * ex;
    int e[MAXC]; double ls = loss_sum; O.flt = 1;
    double *z = forward(nb, fx, ex_in, 1, e); loss(nb, z, 0, y, 10, e); backward(nb, dl, ex_in, fx); O.flt = 0; loss_sum = ls;
    for (int i = 0; i < nl; i++) { L *l = &net[i]; if (l->kind != CONV) continue; double *t = NEW(l->nw), r; for (int j = 0; j < l->nw; j++) t[j] = l->gT[wt(l, j)]; double c = cosine(g[i], t, l->nw, &r); printf(" %.3f/%.2f", c, r); free(t);
        memcpy(l->gT, kg[i], l->nw * 8); memcpy(l->gb, kb[i], l->co * 8); memcpy(l->ed, ke[i], sizeof ke[i]); }
    printf("\n");
}
static void report(int ep) {
    for (int i = 0; i < nl; i++) { L *l = &net[i]; if (l->kind != CONV) continue;
        long n = (long)BS * l->oh * l->ow; int dead = 0, flushed = 0; double lo = 1e9, hi = -1e9;
        for (int c = 0; c < l->co; c++) { double ma = 0, my = 0; for (long p = 0; p < n; p++) { double a = l->acc[p * l->co + c] * (O.flt ? 1 : ldexp(1, l->ea[c])); if (fabs(a) > ma) ma = fabs(a); if (fabs(l->y[p * l->co + c]) > my) my = fabs(l->y[p * l->co + c]); }
            if (O.flt && l->relu) ma = my;
            if (ma == 0) dead++; else { if (my == 0) flushed++; double b = log2(ma); if (b < lo) lo = b; if (b > hi) hi = b; } }
        int weh = -99, wel = 99; for (int c = 0; c < l->co; c++) { if (l->we[c] > weh) weh = l->we[c]; if (l->we[c] < wel) wel = l->we[c]; }
        printf("    L%-2d %s e_W %d..%d e_y %d want %d grows %ld e_d %d grows %ld | channels dead %d flushed %d of %d, range of maxima 2^%.1f..2^%.1f | y>0 flushed %.2f%% sat %.4f%% | d zeroed %.1f%% sat %.4f%%\n", i, is_dw(l) ? "dw" : "  ", wel, weh,
            l->fs[0].e, l->fs[0].want, l->fs[0].grows, l->es[0].e, l->es[0].grows, dead, flushed, l->co, lo, hi, 100.0 * l->n_flush / (l->n_y + 1), 100.0 * l->n_sat / (l->n_y + 1), 100.0 * l->n_ezero / (l->n_e + 1), 100.0 * l->n_esat / (l->n_e + 1));
        l->n_y = l->n_flush = l->n_sat = l->n_e = l->n_ezero = l->n_esat = 0; }
    (void)ep;
}

static double evaluate(void) {
    static double *x; if (!x) x = NEW(BS * 64);
    int hit = 0, e[MAXC];
    for (int i = NT; i < N; i += BS) {
        int nb = N - i < BS ? N - i : BS;
        for (int b = 0; b < nb; b++) load(i + b, x + b * 64);
        double *z = forward(nb, x, ex_in, 0, e);
        for (int b = 0; b < nb; b++) { int best = 0; for (int c = 1; c < 10; c++) if (z[b * 10 + c] > z[b * 10 + best]) best = c; hit += best == raw[(i + b) * 65]; }
    }
    return 100.0 * hit / (N - NT);
}

static void make(const char *name) {
    int n; nl = 0;
    if (!strcmp(name, "mlp")) { add_conv(64, 32, 0, 0, 1, 1, 1); add_conv(32, 10, 0, 0, 1, 1, 0); O.epochs = 30; }
    else if (!strcmp(name, "cnn")) { add_conv(1, 8, 3, 1, 1, 1, 1); add_pool(MAXP); add_conv(8, 16, 3, 1, 1, 1, 1); add_pool(MAXP); add_conv(64, 10, 0, 0, 1, 1, 0); O.epochs = 15; }
    else if (sscanf(name, "dw%d", &n) == 1) {       // stem and n depthwise-separable stages
        add_conv(1, 16, 3, 1, 2, 1, 1);
        for (int i = 0, c = 16; i < n; i++, c = 24) { add_conv(c, c, 3, 1, 1, c, 1); add_conv(c, 24, 1, 0, 1, 1, 1); }
        add_pool(AVG); add_conv(24, 10, 0, 0, 1, 1, 0); O.epochs = 15;
    } else if (sscanf(name, "conv%d", &n) == 1) {     // the same depth without depthwise layers
        add_conv(1, 16, 3, 1, 2, 1, 1);
        for (int i = 0, c = 16; i < n; i++, c = 24) { add_conv(c, 24, 1, 0, 1, 1, 1); add_conv(24, 24, 1, 0, 1, 1, 1); }
        add_pool(AVG); add_conv(24, 10, 0, 0, 1, 1, 0); O.epochs = 15;
    } else { fprintf(stderr, "net?\n"); exit(1); }
}

static void option(char *a) {
    struct { const char *n; int *p; } t[] = {{"mask", &O.mask}, {"only", &O.only}, {"wpc", &O.wpc}, {"apc", &O.apc}, {"epc", &O.epc}, {"adw", &O.adw}, {"ain", &O.ain}, {"edw", &O.edw}, {"ein", &O.ein}, {"ahead", &O.ahead}, {"ehead", &O.ehead},
        {"patience", &O.patience}, {"sre", &O.sre}, {"epochs", &O.epochs}, {"lrm", &O.lrm}, {"lre", &O.lre}, {"diag", &O.diag}, {"renorm", &O.renorm}, {"ma", &O.ma}, {"me", &O.me}, {"mw", &O.mw}, {"r", &O.r}, {"wdwb", &O.wdwb}, {"srf", &O.srf}, {"hash", &O.hash}, {"clipg", &O.clipg}, {"at", &O.at}, {"tofloat", &O.tofloat}, {"e15", &O.e15}, {"a15", &O.a15}};
    char *eq = strchr(a, '=');
    if (eq) for (unsigned i = 0; i < sizeof t / sizeof *t; i++) if (strlen(t[i].n) == (size_t)(eq - a) && !strncmp(a, t[i].n, eq - a)) { *t[i].p = atoi(eq + 1); return; }
    fprintf(stderr, "option %s?\n", a); exit(1);
}

int main(int n, char **a) {
    if (n < 5) return 1;
    FILE *f = fopen(a[1], "rb"); raw = malloc(65 * 1797); if (!f || fread(raw, 65, 1797, f) != 1797) return 1;
    for (int i = 0; i < 65; i++) EXP2[i] = (I)floor(65536 * exp2(-i / 64.0) + 0.5);
    O.patience = 64; O.sre = 1; O.lrm = 128; O.lre = -9;
    make(a[2]);
    O.ma = O.me = O.mw = 15; O.r = 0; O.mb = 15;
    if (!strcmp(a[3], "i8")) { O.ma = O.me = O.mw = 7; O.r = 8; }
    else if (!strcmp(a[3], "f64")) O.flt = 1;
    else if (strcmp(a[3], "i16")) return 1;
    seed = atoi(a[4]);
    for (int i = 5; i < n; i++) if (a[i][1] != ':') option(a[i]);
    build(8, 1);
    alignbuf = NEW(BS * 64 * MAXC);
    for (int c = 0; c < MAXC; c++) ex_in[c] = ein_bits();
    int lre = O.lre, *p = malloc(NT * 4); double tail = 0, last = 0, best = 9, rise = 0; xin = NEW(BS * 64);
    for (int ep = 0; ep < O.epochs; ep++) {
        if (ep == O.epochs * 2 / 3) lre--;
        if (ep == O.epochs * 5 / 6) lre--;
        U k = key(seed, 5, ep);
        for (int i = 0; i < NT; i++) p[i] = i;
        for (int i = NT - 1; i > 0; i--) { int j = (int)(((uint64_t)(word(k, i) >> 16) * (i + 1)) >> 16), t = p[i]; p[i] = p[j]; p[j] = t; }
        loss_sum = 0; int steps = 0;
        for (int i = 0; i + BS <= NT; i += BS, steps++) {
            int y[BS], e[MAXC], ed[MAXC];
            if (O.at && step_ == (U)O.at) {
                for (int j = 5; j < n; j++) if (a[j][1] == ':') option(a[j] + 2);
                if (O.e15) { O.me = 15; lossstate.e -= 8; for (int q = 0; q < nl; q++) for (int c = 0; c < MAXC; c++) net[q].es[c].e -= 8; }
                if (O.a15) { O.ma = 15; for (int q = 0; q < nl - 1; q++) for (int c = 0; c < MAXC; c++) net[q].fs[c].e -= 8; for (int c = 0; c < MAXC; c++) ex_in[c] = -15; }
                if (O.tofloat) { O.flt = 1; for (int q = 0; q < nl; q++) { L *l = &net[q]; for (int j = 0; j < l->nw; j++) l->fw[j] = l->m[j] * ldexp(1, l->we[j / (l->nw / l->co)] - l->r); if (l->kind == CONV) for (int c = 0; c < l->co; c++) l->fb[c] = l->b[c] * ldexp(1, l->be_); } }
            }
            for (int b = 0; b < BS; b++) { load(p[i + b], xin + b * 64); y[b] = raw[p[i + b] * 65]; }
            double *z = forward(BS, xin, ex_in, 1, e);
            loss(BS, z, e[0], y, 10, ed);
            backward(BS, dl, ed, xin);
            int last_batch = i + 2 * BS > NT;
            if (O.diag >= 3) { static double prev; if (i == 0) prev = 0; printf("  step %u loss %.3f\n", step_, (loss_sum - prev) / BS); prev = loss_sum; if (O.diag == 4) report(ep); if (O.diag >= 4 && !O.flt) compare(BS, xin, y); }
            update(lre - 5);
            if (last_batch && O.diag) { if (O.diag >= 2) report(ep); if (!O.flt) compare(BS, xin, y); }
            step_++;
        }
        if (O.diag || ep >= O.epochs - 3) last = evaluate();
        if (ep >= O.epochs - 3) tail += last / 3;
        double le = loss_sum / steps / BS; if (le < best) best = le; else if (le - best > rise) rise = le - best;
        if (O.diag) printf("epoch %d loss %.4f test %.2f\n", ep, loss_sum / steps / BS, last);
    }
    if (O.hash) { U h = 0; for (int i = 0; i < nl; i++) if (net[i].kind == CONV) { for (int j = 0; j < net[i].nw; j++) h = mix32(h ^ (U)net[i].m[j]); for (int j = 0; j < net[i].co; j++) h = mix32(h ^ (U)net[i].b[j]); h = mix32(h ^ (U)net[i].we[0]); } printf("%08x ", h); }
    if (O.hash) printf("%.2f\n", tail); else printf("%.2f %.3f %.4f\n", tail, rise, loss_sum / 42 / BS);
}
