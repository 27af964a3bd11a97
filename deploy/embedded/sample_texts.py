"""What is read in the sample corpus: small scenes of our own, a book of two chapters for each reader."""

BOOKS = (
    ("The Lighthouse Keeper", (
        "The keeper climbed the stairs every evening at six. From the top he could see the whole bay, the fishing boats "
        "and the long white beach. Tonight the wind was strong, and the sea was louder than usual. He lit the lamp and "
        "wrote the time in his notebook. Nobody had visited the island since the spring.",
        "In the morning a small boat came around the rocks. A young woman waved from it with a yellow scarf. She had "
        "brought bread, letters and a basket of apples. The keeper had not laughed for a month, but now he did. They "
        "drank their tea on the steps and watched the birds.",
    )),
    ("A Garden in the City", (
        "Behind our house there was a garden that nobody used. The gate was broken, and the grass was as high as my "
        "knees. One Saturday my sister and I decided to clean it up. We found three old bottles, a bicycle wheel and a "
        "nest with two blue eggs. After that we worked very quietly.",
        "By the end of summer we had tomatoes and beans. The neighbors came with chairs and sat under the old pear tree. "
        "Someone played the guitar until it was dark. My father said that it was the best party of his life. We have "
        "never locked the gate again.",
    )),
    ("The Late Train", (
        "The train to the coast was forty minutes late. A man in a gray coat walked up and down the platform. He asked "
        "me whether I had seen a small brown suitcase. I told him that a boy had carried one into the station. He "
        "thanked me and ran faster than I expected.",
        "Later I saw him again in the dining car. The suitcase stood on the seat beside him, and it was moving. He "
        "smiled and lifted the lid a little. Inside there was a puppy, asleep on a green towel. We shared our "
        "sandwiches with it as far as the sea.",
    )),
    ("Notes on Bread", (
        "Good bread needs only flour, water, salt and time. Most people have the first three and forget about the last. "
        "Let the dough rest while you read or take a walk. When it has doubled, fold it gently and wait again. You will "
        "know from the smell that it is ready.",
        "The oven should be as hot as you dare. Put a small pan of water on the floor of it, for the steam. After half "
        "an hour the crust will sing when you press it. Leave the loaf alone until it is cool. I have never managed to "
        "follow that rule myself.",
    )),
    ("The River Map", (
        "My grandfather drew maps of rivers for the government. He said that a river is never in the same place twice. "
        "Each spring he walked along the bank with a stick and a ball of string. In the winter he painted what he had "
        "measured. The blue always had to be mixed fresh.",
        "One year the water rose above the bridge. The old maps showed a channel that everyone had forgotten. The "
        "engineers opened it again, and the village stayed dry. Grandfather did not say anything about it. He only "
        "sharpened his pencils and went back to work.",
    )),
    ("Winter Lessons", (
        "It snowed for the first time on a Tuesday. The teacher put down her chalk and looked out of the window. Then "
        "she told us to fetch our coats. We learned more about ice that afternoon than from any book. Nobody wanted to "
        "go home when the bell rang.",
        "The lake was frozen by the end of the week. Martha could skate backwards, and she showed us how to fall "
        "without pain. I fell eleven times and counted every one. On the twelfth try I reached the other shore. The "
        "sun was so low that our shadows crossed the whole lake.",
    )),
    ("The Clock Shop", (
        "Every clock in the shop told a different time. The owner said that he liked to give people a choice. In the "
        "corner stood a tall clock that had not moved for years. A girl asked him why he kept it. It is right twice a "
        "day, he answered, and that is better than most of us.",
        "The girl came back with a small brass key. She had found it in a drawer at her aunt's house. They opened the "
        "tall clock together and blew away the dust. It coughed, and then it began to strike. Outside in the street "
        "people stopped to count.",
    )),
    ("A Letter from the Mountains", (
        "Dear Helen, the road was closed, so I walked the last nine miles. The hut is warm, and there is plenty of wood. "
        "At night I can hear the foxes quarrel behind the shed. Yesterday an eagle circled above me for an hour. I "
        "think it wanted to know who I was.",
        "There are only two other guests, a doctor and a violin player. In the evening he plays, and she corrects him. "
        "Tomorrow we shall try to reach the northern peak. If the weather holds, you will have my photographs by "
        "Friday. Please water the plants, and kiss the children for me.",
    )),
    ("The Orchestra", (
        "Before the concert the players made a terrible noise. To me it was the most beautiful part of the evening. Each "
        "of them was alone, and yet they all shared the same room. Then the oboe gave a single note, and there was "
        "silence. I held my breath until the music began.",
        "During the second piece a string broke. The violinist did not stop, but played on with the three that were "
        "left. Only the conductor noticed and raised an eyebrow. Afterwards he shook her hand in front of everyone. She "
        "keeps the broken string in a frame.",
    )),
    ("Market Day", (
        "The market opens before the sun is up. Farmers unload potatoes, cheese and boxes of noisy ducks. By eight "
        "o'clock you can hardly walk between the tables. An old woman sells honey and gives advice for free. I always "
        "buy one jar and take two pieces of advice.",
        "Today she told me to call my brother. We had not spoken since the business with the car. I stood beside the "
        "fountain and dialed his number. He answered at once, as if he had been waiting. The honey was excellent too.",
    )),
    ("The Painter's Window", (
        "The painter lived above the bakery and worked by the window. From there she saw the square, the church and the "
        "people in a hurry. She painted the same view in rain, in fog and in bright sunshine. Visitors asked why she "
        "never chose another subject. She said that she was not finished with this one.",
        "When the bakery closed, the smell of bread was gone. The painter noticed that her colors grew colder. So she "
        "learned to bake and left the door open. Soon there was a line of people on the stairs. They bought rolls, and "
        "now and then a picture.",
    )),
    ("Questions for a Pilot", (
        "Do you ever feel afraid up there? The pilot thought about it for a moment. Once, she said, when a bee got into "
        "the cockpit. Storms can be measured, but a bee has plans of its own. The children wrote that down very "
        "carefully.",
        "What is the best thing you have ever seen? She told them about a flight at the end of summer. The whole "
        "northern sky had turned green, like a curtain in the wind. For twenty minutes nobody on board said a word. "
        "Even the baby in the last row was quiet.",
    )),
    ("The Broken Radio", (
        "We bought the radio for two dollars at a yard sale. It hummed when you touched it, and that was all. My uncle "
        "took it apart on the kitchen table. He laid out the pieces in a long row, from the largest to the smallest. "
        "For three days we ate standing up.",
        "On Sunday he put the last screw back in. First there was a hiss, and then a voice spoke in a language that we "
        "did not know. We listened to it all the same. It sounded like good news from somewhere far away. My uncle "
        "nodded as if he understood.",
    )),
    ("Five Small Journeys", (
        "The first journey was to the end of the street. The second one took me over the hill to the mill. On the third I "
        "slept in a barn and was woken by a goat. The fourth was longer, and I brought home a friend. About the fifth I "
        "will tell you another time.",
        "People ask what I carry when I travel. A knife, a spoon, a dry shirt and a book that I have read before. "
        "Everything else can be borrowed or done without. The heaviest thing in any bag is worry. I try to leave it on "
        "the table beside the door.",
    )),
)  # fmt: skip
"""Title, and its chapters; sentences end with a full stop or a question mark."""
