"""The embedded weights in ten minutes of one accelerator, in place of days of a processor.

The codec's encoder and books stay what they are, so codes made before may be heard beside those made here. PARTS is
what `deploy.embedded.kokoro` says, PROSE what `lines` says. Beforehand, on a processor:

    python -m deploy.embedded.accelerated.lines FOLDER --kokoro PARTS --prose PROSE
    python -m deploy.embedded.accelerated.weights PARTS FOLDER/kokoro.npz

On the accelerator, speakers first, and beside them, as soon as they have said ten hours, all of the others:

    for rank in 0 1 2 3 4 5; do
        python -m deploy.embedded.accelerated.speak FOLDER --kokoro FOLDER/kokoro.npz --rank $rank --world 6 &
    done
    python -m deploy.embedded.accelerated.train ar FOLDER FOLDER/256 --width 256 --rate 1.5e-3 &
    python -m deploy.embedded.accelerated.train ar FOLDER FOLDER/192 --rate 2e-3 &
    python -m deploy.embedded.accelerated.train nar FOLDER FOLDER/256 --width 256 --rate 1.5e-3 --batch-frames 24000 &
    python -m deploy.embedded.accelerated.train nar FOLDER FOLDER/192 --layers 4 --rate 2e-3 --batch-frames 24000 &
    python -m deploy.embedded.codec FOLDER --start --rate 1e-3 --batch 24 --workers 3 \\
        --decoder-steps 1552 --adversary-steps 1627 &

Any of them goes on where it was stopped. On one H100 scripts of the same arithmetic were run so for 9.5 minutes: six
speakers for 110 s, and two of them on to 255 s, said 28,557 lines, 25 hours; the ARs came to 5,066 and 5,466 steps, the
NARs to 3,271 and 3,771, and the decoder to those that stand there, its rate falling by the clock and its average of
0.999 where it is 0.998 here. The pair was trained on the codes of the codec before, whose name it has until it is
shipped:

    cp model/embedded/encodec.safetensors model/embedded/encodec.json FOLDER
    python -m deploy.embedded.codec FOLDER --export
    python -m deploy.embedded.valle FOLDER/192/ar FOLDER/192/nar --trained-on FOLDER/encodec.safetensors
    python -m deploy.embedded.judge HELD_OUT

Last, the AR that ships was taught by how it is heard, in 12 minutes of an H100 (it waited for its processors):

    python -m deploy.embedded.accelerated.reinforce FOLDER FOLDER/heard --rate 3e-4
    python -m deploy.embedded.accelerated.reinforce FOLDER FOLDER/heard-again --pair FOLDER/heard --rate 3e-4 \\
        --minutes 3.6 --near 0.02 --texts 32 --tries 16 --steps 4
    python -m deploy.embedded.valle FOLDER/heard-again/ar FOLDER/heard-again/nar

Its FOLDER held 798 utterances of 450 voices, which a processor had spoken in half an hour, and 16,000 texts.
"""
